//! As whom the server runs.

use std::fs;

use tidegate_engine::rights;

use crate::config::Configuration;
use crate::failure::Failure;

/// A user and its group.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    user: u32,
    group: u32,
}

/// Becomes whoever the configuration says, and says who that is.
///
/// # Errors
/// When there is no such user or group, or this process may not become it.
pub(super) fn enter(configuration: &Configuration) -> Result<String, Failure> {
    let values = &configuration.values;
    let user = values.text_if_any("server.user");
    let group = values.text_if_any("server.group");
    let (own_user, own_group) = rights::identity();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    if user.is_none() && group.is_none() {
        return Ok(format!("user {}", name_of(&users, own_user)));
    }
    let account =
        Account::find(&users, &groups, user, group, own_user).map_err(Failure::configuration)?;
    let shown = name_of(&users, account.user);
    if (account.user, account.group) == (own_user, own_group) && own_user != 0 {
        return Ok(format!("user {shown}"));
    }
    if own_user != 0 {
        return Err(Failure::forbidden(format!(
            "cannot become user {shown}: only root can; start the server as root, or as that user \
             without server.user"
        )));
    }
    rights::become_user(account.user, account.group)
        .map_err(|error| Failure::forbidden(format!("cannot become user {shown}: {error}")))?;
    Ok(format!("user {shown}"))
}

impl Account {
    /// Looks the names up in /etc/passwd and /etc/group, as they are given here. Other directories
    /// of users are not asked: a number always works.
    fn find(
        users: &str,
        groups: &str,
        user: Option<&str>,
        group: Option<&str>,
        own_user: u32,
    ) -> Result<Self, String> {
        let (user, user_group) = match user {
            None => (own_user, None),
            Some(name) => {
                let fields = line_of(users, name).map(|line| (number(line, 2), number(line, 3)));
                match (fields, name.parse()) {
                    (Some((Some(user), group)), _) => (user, group),
                    (_, Ok(user)) => (user, field_of(users, user, 3)),
                    _ => {
                        return Err(format!(
                            "server.user: there is no user {name} in /etc/passwd"
                        ));
                    }
                }
            }
        };
        let group = match (group, user_group) {
            (None, Some(group)) => group,
            (None, None) => {
                return Err(format!(
                    "server.user: user {user} has no group in /etc/passwd; say server.group"
                ));
            }
            (Some(name), _) => line_of(groups, name)
                .and_then(|line| number(line, 2))
                .or_else(|| name.parse().ok())
                .ok_or(format!(
                    "server.group: there is no group {name} in /etc/group"
                ))?,
        };
        Ok(Self { user, group })
    }
}

/// The line of this name.
fn line_of<'a>(table: &'a str, name: &str) -> Option<&'a str> {
    table
        .lines()
        .find(|line| line.split(':').next() == Some(name))
}

fn number(line: &str, field: usize) -> Option<u32> {
    line.split(':').nth(field)?.parse().ok()
}

/// A field of the line whose number is this.
fn field_of(table: &str, wanted: u32, field: usize) -> Option<u32> {
    let line = table.lines().find(|line| number(line, 2) == Some(wanted))?;
    number(line, field)
}

fn name_of(users: &str, user: u32) -> String {
    let line = users.lines().find(|line| number(line, 2) == Some(user));
    let name = line.and_then(|line| line.split(':').next());
    name.map_or_else(|| user.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\ntidegate:x:990:991::/:/bin/false\n";
    const GROUPS: &str = "root:x:0:\nweb:x:33:\n12:x:7:\n";

    fn find(user: Option<&str>, group: Option<&str>) -> Result<(u32, u32), String> {
        Account::find(USERS, GROUPS, user, group, 0).map(|found| (found.user, found.group))
    }

    #[test]
    fn names_and_numbers_are_found_with_their_group() {
        assert_eq!(find(Some("tidegate"), None), Ok((990, 991)));
        assert_eq!(find(Some("990"), None), Ok((990, 991)));
        assert_eq!(find(Some("tidegate"), Some("web")), Ok((990, 33)));
        assert_eq!(find(Some("4000"), Some("4001")), Ok((4000, 4001)));
        // A name goes before a number.
        assert_eq!(find(None, Some("12")), Ok((0, 7)));
        assert_eq!(name_of(USERS, 990), "tidegate");
        assert_eq!(name_of(USERS, 5), "5");
    }

    #[test]
    fn what_is_not_there_is_named() {
        for (user, group, part) in [
            (Some("nobody-here"), None, "nobody-here"),
            (Some("4000"), None, "server.group"),
            (Some("tidegate"), Some("cloud"), "cloud"),
            (Some("-1"), None, "-1"),
        ] {
            let fault = find(user, group).unwrap_err();
            assert!(fault.contains(part), "{fault}");
        }
    }
}
