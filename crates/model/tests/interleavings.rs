//! Runs every scenario as a test.

use turris_auth_model::scenarios;

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                scenarios::$name();
            }
        )*
    };
}

scenarios! {
    cold_callers_share_one_fetch
    three_cold_callers_share_one_fetch
    a_caller_that_gives_up_leaves_the_fetch_alone
    a_failure_is_shared
    a_runtime_that_is_shut_down_delays_no_other_caller
    a_cache_that_is_dropped_ends_its_fetch
    no_invalidated_token_is_handed_out
    no_caller_that_knows_of_an_invalidation_gets_the_old_token
    two_refusals_of_one_token_cost_one_fetch
    a_refusal_and_an_invalidation_at_once
    the_allowance_is_kept
    a_token_is_invalidated_before_its_waiter_looks
    a_token_is_refused_before_its_waiter_looks
    a_refresh_that_brings_the_refused_token_again_is_not_published
    a_due_refresh_is_started_once
    a_token_expires_while_it_is_refreshed
    a_stuck_runtime_is_superseded
}
