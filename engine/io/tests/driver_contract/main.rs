//! The contract of [`tidegate_io::driver`], as laws that every driver keeps.
//!
//! One suite for all: it runs on the real kernel behind epoll and behind io_uring, with and
//! without what only newer kernels offer, and on the simulated one on a calm day and on many
//! lively ones.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod bytes;
mod epoll_rig;
mod life;
mod rig;
mod sim_rig;
mod stand;
mod turn;
mod uring_rig;

/// The same laws for every kernel, and some for the real ones.
macro_rules! laws {
    (
        everywhere { $($module:ident: $($law:ident,)*;)* }
        // The simulated kernel tells in any order.
        really { $($real:ident: $($real_law:ident,)*;)* }
    ) => {
        mod epoll {
            use crate::epoll_rig::EpollRig;
            $($(
                #[test]
                fn $law() {
                    crate::$module::$law(EpollRig::default());
                }
            )*)*
            $($(
                #[test]
                fn $real_law() {
                    crate::$real::$real_law(EpollRig::default());
                }
            )*)*
        }

        mod uring {
            use crate::uring_rig::UringRig;
            use tidegate_io::uring::{Setup, TaskRun};

            const USUAL: [TaskRun; 2] = [TaskRun::Deferred, TaskRun::Cooperative];

            $($(
                #[test]
                fn $law() {
                    for usual in USUAL.map(Setup::new) {
                        crate::$module::$law(UringRig::new(usual));
                        // Rings that are always full.
                        let tiny = Setup { submissions: 1, completions: 2, ..usual };
                        crate::$module::$law(UringRig::new(tiny));
                    }
                }
            )*)*
            $($(
                #[test]
                fn $real_law() {
                    // A ring that is always full loses the order: polls end, and are asked for anew.
                    for usual in USUAL.map(Setup::new) {
                        crate::$real::$real_law(UringRig::new(usual));
                    }
                }
            )*)*
        }

        mod sim {
            use crate::sim_rig::SimRig;
            use tidegate_io::sim::Faults;
            $($(
                #[test]
                fn $law() {
                    crate::$module::$law(SimRig::new(0, Faults::none()));
                    for seed in 0..crate::SEEDS {
                        crate::$module::$law(SimRig::new(seed, Faults::without_resets()));
                    }
                }
            )*)*
        }
    };
}

/// How many lively worlds each law is tried in.
const SEEDS: u64 = 20;

laws! {
    everywhere {
        bytes:
            bytes_from_the_peer_arrive_unchanged_and_in_order,
            bytes_to_the_peer_arrive_unchanged_and_in_order,
            many_sockets_at_once_keep_their_bytes_apart,
            a_batch_arrives_in_order_however_many_pieces_it_has,
            a_batch_without_bytes_is_done,
            a_peer_that_does_not_read_delays_a_batch_and_loses_nothing,
            small_batches_to_peers_that_do_not_read_are_delayed_and_not_lost,
            many_small_batches_in_one_turn_all_arrive,
            a_batch_of_many_pieces_outlives_a_peer_that_does_not_read,
            pause_stops_receiving_and_resume_goes_on,
            many_that_were_paused_all_go_on,
            bytes_that_came_before_the_pause_come_after_the_resume,
            a_peer_of_a_paused_socket_feels_a_closed_window,
            receive_into_fills_behind_what_the_buffer_holds,
            receive_into_keeps_to_its_size,
            receive_into_waits_for_the_resume,
            the_end_answers_receive_into,
        ;
        life:
            the_end_comes_once_and_after_all_bytes,
            traffic_is_what_has_gone_over,
            the_end_waits_for_the_resume,
            a_peer_that_has_ended_can_be_sent_to,
            shutdown_shows_the_peer_the_end_after_all_bytes,
            shutdown_waits_for_the_batch_under_way,
            a_reset_by_the_peer_is_told_once,
            a_reset_is_told_while_paused,
            a_reset_ends_a_batch_under_way,
            a_reset_ends_a_receive_into,
            sends_to_a_lost_peer_do_no_harm,
            a_close_frees_the_number_for_the_next_peer,
            a_number_used_again_within_a_turn_starts_anew,
            a_close_shows_the_peer_the_end_after_all_bytes,
            an_end_right_behind_small_batches_comes_after_their_bytes,
            a_small_batch_outlives_nobody,
            a_close_with_reset_shows_the_peer_a_reset,
            a_close_gives_back_what_is_under_way,
            a_close_is_possible_after_the_peer_is_gone,
            an_accepted_peer_that_is_dropped_is_closed,
            an_accepted_peer_that_is_reset_sees_a_reset,
            a_peer_that_is_gone_before_it_is_opened_is_told_of,
        ;
        turn:
            deafen_takes_those_who_wait_and_refuses_the_others,
            listening_starts_with_the_op,
            a_peer_says_which_listener_it_has_called,
            deafen_closes_every_listener,
            a_storm_of_connects_is_accepted_to_the_last,
            a_connect_reaches_a_listener,
            a_connect_to_nobody_is_told_as_gone,
            a_connect_can_be_closed_at_once,
            a_flood_from_one_peer_delays_nobody,
            bytes_that_come_within_a_turn_wait_for_the_next,
            a_wait_goes_on_to_its_moment,
            a_wait_keeps_its_timeout,
            a_ring_before_the_wait_ends_it,
            a_wait_within_a_turn_loses_nothing,
            a_driver_that_is_dropped_closes_its_peers,
            numbers_may_be_chosen_freely,
        ;
    }
    really {
        turn:
            who_stays_is_heard_before_a_crowd_that_leaves,
        ;
    }
}
