//! The list of all checks, and the macro that makes tests of them.

/// Makes one test of each check of the conformance suite. The argument is an `async fn() -> Result<impl World, _>` that
/// gives a fresh world.
#[macro_export]
macro_rules! conformance_suite {
    ($fresh_world:expr) => {
        $crate::conformance_tests! { $fresh_world;
            journal {
                an_append_succeeds_only_if_exactly_expected_records_are_stored
                two_writers_cannot_both_extend_a_run
                records_of_one_append_are_stored_in_order
                after_conflict_none_of_the_records_is_stored
                after_refused_none_of_the_records_is_stored
                after_conflict_the_record_at_expected_tells_whether_the_append_succeeded
                an_acknowledged_append_is_read_back_after_the_process_died
                read_gives_the_records_from_a_position_on
                who_reads_on_gets_what_came_since_also_when_others_begin_anew
                records_are_read_byte_for_byte
                a_run_without_records_reads_as_empty
                remove_removes_all_records_of_the_run_and_no_other
                removing_nothing_succeeds
                list_gives_the_runs_that_have_records_oldest_first
                the_durability_is_stated
            }
            leases {
                while_a_lease_is_held_acquire_answers_held
                of_many_that_acquire_at_once_one_succeeds
                each_acquisition_gets_a_higher_epoch
                epochs_grow_across_restarts
                a_lease_ends_when_it_is_released
                a_lease_ends_when_its_holders_process_dies
                a_lease_ends_when_it_is_not_renewed_within_its_time
                renew_keeps_a_lease_and_answers_lost_when_it_ended
                releasing_what_ended_already_succeeds_and_takes_nothing
                holder_tells_who_holds_it_without_disturbing
                holders_gives_the_held_names_of_a_prefix_in_order
                leases_of_different_names_are_independent
            }
            tasks {
                first_dispatched_is_first_delivered
                a_task_is_delivered_to_one_puller_of_its_target
                a_pull_answers_with_one_to_max_tasks
                a_pull_waits_while_there_is_none
                dropping_a_pull_loses_no_task
                a_task_that_is_done_is_not_delivered_again
                dispatch_to_a_host_that_no_worker_serves_answers_nobody_serves_and_stores_nothing
                a_host_that_a_worker_serves_gets_its_tasks
                a_host_that_its_worker_left_is_served_by_nobody_until_it_pulls_again
                beyond_the_bound_dispatch_answers_full_and_stores_nothing
            }
            results {
                a_published_result_is_delivered
                results_of_one_publisher_are_delivered_in_order
                a_result_that_is_done_is_not_delivered_again
                what_was_consumed_and_is_not_done_comes_again_after_redeliver
                results_of_different_runs_do_not_wait_for_each_others_done
                consume_answers_with_one_to_max_results
                consume_waits_while_there_is_none
                dropping_a_consume_loses_nothing
            }
            control {
                a_request_reaches_the_server_and_its_reply_the_asker
                with_nobody_serving_request_answers_no_answer
                a_server_that_drops_the_request_gives_no_answer
                a_server_that_is_gone_gives_no_answer
                a_question_to_all_owners_is_answered_by_those_that_serve
                a_later_server_replaces_the_earlier
                a_broadcast_reaches_every_subscriber_in_order
                a_broadcast_reaches_no_later_subscriber
                a_broadcast_never_blocks
            }
            feed {
                a_watcher_gets_items_in_order_each_once_from_its_subscription_on
                a_topic_is_its_own
                publish_never_waits_for_a_slow_watcher
                a_watcher_that_lost_items_is_told_how_many_before_the_next
                publish_without_a_watcher_succeeds
            }
            blobs {
                what_was_put_is_read_back_after_the_process_died
                large_and_empty_blobs_are_read_byte_for_byte
                putting_the_same_bytes_again_succeeds
                what_was_never_put_is_missing
                remove_run_removes_all_blobs_of_the_run_and_of_no_other
            }
            directory {
                insert_stores_only_where_nothing_is
                of_many_that_insert_at_once_one_stores
                put_replaces_and_get_gives_the_newest
                list_gives_all_of_a_table_in_key_order
                what_nobody_put_is_empty
                remove_removes_and_removing_nothing_succeeds
                what_was_put_is_read_back_after_the_process_died
            }
        }
    };
}

/// The part of [`conformance_suite`] that knows no check.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($fresh_world:expr; $($port:ident { $($check:ident)* })*) => { $(
        mod $port {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() -> $crate::conformance::Checked {
                    $crate::conformance::within_deadline(async {
                        let world = $fresh_world().await?;
                        $crate::conformance::$port::$check(&world).await
                    })
                    .await
                }
            )*
        }
    )* };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_check_is_in_the_suite() {
        let suite = include_str!("suite.rs");
        let ports = [
            include_str!("journal.rs"),
            include_str!("leases.rs"),
            include_str!("tasks.rs"),
            include_str!("results.rs"),
            include_str!("control.rs"),
            include_str!("feed.rs"),
            include_str!("blobs.rs"),
            include_str!("directory.rs"),
        ];
        for source in ports {
            for line in source.lines() {
                let Some(rest) = line.strip_prefix("pub async fn ") else { continue };
                let name = rest.split('(').next().expect("a name");
                assert!(suite.lines().any(|listed| listed.trim() == name), "{name} is not in the suite");
            }
        }
    }
}
