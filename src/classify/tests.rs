use super::*;

#[test]
fn a_status_that_is_not_exactly_one_of_the_two_is_ordinary() {
    let of = |value: &'static str| {
        ResponseClass::of(StatusCode::OK, &HeaderMap::from_iter([(GRPC_STATUS, value.parse().unwrap())]))
    };
    assert_eq!(of("16"), ResponseClass::Unauthorized);
    assert_eq!(of("8"), ResponseClass::RateLimited);
    for malformed in ["0", "016", "16 ", "1", "161", "-16", "sixteen", "", "99999999999999999999999"] {
        assert_eq!(of(malformed), ResponseClass::Ordinary, "{malformed:?}");
    }
}

#[test]
fn a_grpc_status_beside_another_http_status_says_nothing() {
    let headers = HeaderMap::from_iter([(GRPC_STATUS, "16".parse().unwrap())]);
    assert_eq!(ResponseClass::of(StatusCode::BAD_GATEWAY, &headers), ResponseClass::Ordinary);
}

#[test]
fn a_pushback_that_is_no_wait_means_that_no_retry_is_wanted() {
    let of = |status: u16, pushback: &'static str| {
        let mut headers = HeaderMap::from_iter([(GRPC_STATUS, "8".parse().unwrap())]);
        headers.insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
        ResponseClass::of(StatusCode::from_u16(status).unwrap(), &headers)
    };
    for wait in ["0", "250", "99999999999999999999999"] {
        assert_eq!(of(200, wait), ResponseClass::RateLimited, "{wait:?}");
    }
    for none in ["-1", "-250", "soon", "", "1.5"] {
        assert_eq!(of(200, none), ResponseClass::Ordinary, "{none:?}");
        // `grpc-retry-pushback-ms` belongs to gRPC. A 429 is classified by its own headers.
        assert_eq!(of(429, none), ResponseClass::RateLimited, "{none:?}");
    }
}

#[test]
fn several_values_of_a_grpc_header_are_malformed() {
    let of = |statuses: &[&'static str], pushbacks: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for (name, values) in [("grpc-status", statuses), ("grpc-retry-pushback-ms", pushbacks)] {
            for value in values {
                headers.append(name, value.parse().unwrap());
            }
        }
        ResponseClass::of(StatusCode::OK, &headers)
    };
    for statuses in [["16", "0"], ["0", "16"], ["16", "16"], ["8", "16"], ["8", "8"]] {
        assert_eq!(of(&statuses, &[]), ResponseClass::Ordinary, "{statuses:?}");
    }
    // One value that forbids the retry is enough.
    for pushbacks in [["-1", "250"], ["250", "-1"], ["250", "soon"]] {
        assert_eq!(of(&["8"], &pushbacks), ResponseClass::Ordinary, "{pushbacks:?}");
    }
    for pushback in ["250, -1", "250;w=60"] {
        assert_eq!(of(&["8"], &[pushback]), ResponseClass::Ordinary, "{pushback:?}");
    }
    assert_eq!(of(&["8"], &["250", "500"]), ResponseClass::RateLimited);
}

#[test]
fn http_1_is_classified_by_its_status_alone() {
    let mut response = Response::new(());
    response.headers_mut().insert(GRPC_STATUS, "16".parse().unwrap());
    assert_eq!(Classifier::default().classify(&response), ResponseClass::Ordinary);
    *response.version_mut() = Version::HTTP_2;
    assert_eq!(Classifier::default().classify(&response), ResponseClass::Unauthorized);
}

#[test]
fn a_response_from_before_the_check_of_the_token_proves_nothing() {
    let proves = |status: u16, grpc_status: Option<&'static str>| {
        let mut response = Response::builder().status(status);
        if let Some(grpc_status) = grpc_status {
            response = response.header(GRPC_STATUS, grpc_status);
        }
        proves_token(&response.body(()).unwrap())
    };
    for (status, expected) in
        [(200, true), (204, true), (404, true), (403, true), (407, false), (408, false), (503, false)]
    {
        assert_eq!(proves(status, None), expected, "{status}");
    }
    for (grpc_status, expected) in
        [("0", true), ("5", true), ("7", true), ("2", false), ("4", false), ("13", false), ("14", false)]
    {
        assert_eq!(proves(200, Some(grpc_status)), expected, "{grpc_status}");
    }
}

#[test]
fn a_grpc_call_is_known_by_its_media_type() {
    let is_grpc = |media_type: &str| is_grpc(&Request::builder().header(CONTENT_TYPE, media_type).body(()).unwrap());
    for media_type in ["application/grpc", "application/grpc+proto", "Application/GRPC;charset=utf-8"] {
        assert!(is_grpc(media_type), "{media_type}");
    }
    for media_type in ["", "application/grp", "application/json", "text/plain; of=application/grpc"] {
        assert!(!is_grpc(media_type), "{media_type}");
    }
    assert!(!super::is_grpc(&Request::new(())));
}
