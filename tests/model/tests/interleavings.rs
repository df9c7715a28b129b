//! Every scenario, as a test.

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
    two_cold_callers
}
