//! A server under attack, and somebody beside it who must not notice.

use super::client::Client;
use super::clock;
use super::server::Server;

/// The server, the bystander, and what was open before the attack.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Under attack.
    pub(crate) server: Server,
    bystanders: Vec<Client>,
    descriptors: usize,
}

impl Stage {
    /// How many stand beside it.
    pub(crate) const BYSTANDERS: u64 = 4;

    /// A server with its usual settings.
    #[track_caller]
    pub(crate) fn set() -> Self {
        Self::around(Server::start())
    }

    /// A server that runs already.
    #[track_caller]
    pub(crate) fn around(server: Server) -> Self {
        let mut bystanders: Vec<Client> = (0..Self::BYSTANDERS)
            .map(|_| server.open("/echo"))
            .collect();
        for bystander in &mut bystanders {
            bystander.echoes("before");
        }
        server.until_metric("tidegate_connections", &[], Self::BYSTANDERS);
        // The admin listener lets go of its own connections a moment after it has answered.
        let mut descriptors = usize::MAX;
        clock::until("the descriptors stand still", || {
            let now = server.process().descriptors();
            let same = now == descriptors;
            descriptors = now;
            same.then_some(())
        });
        Self {
            server,
            bystanders,
            descriptors,
        }
    }

    /// Expects that those beside have not noticed, that newcomers are served, and that
    /// nothing is left of the attack.
    #[track_caller]
    pub(crate) fn is_unharmed(&mut self) {
        assert!(self.server.is_running(), "the server has ended");
        for bystander in &mut self.bystanders {
            bystander.echoes("after");
            bystander.hears_nothing_more();
        }
        let mut newcomer = self.server.open("/echo");
        newcomer.echoes("new");
        newcomer.closes();
        self.server
            .until_metric("tidegate_connections", &[], Self::BYSTANDERS);
        clock::until("the descriptors are back", || {
            (self.server.process().descriptors() <= self.descriptors).then_some(())
        });
    }
}
