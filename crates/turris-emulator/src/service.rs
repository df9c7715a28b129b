//! The emulator as a Tower service in memory.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, DATE},
};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::sleep;
use tower_service::Service;

use crate::{
    EmulatorBody, EmulatorError, TOKEN_PATH,
    answer::{self, Answer},
    clock::shifted,
    error::BoxError,
    faults::{Fault, FaultBody, Outcome, Wait},
    routes::{self, Admission},
    state::Shared,
};

/// The longest body that is read of a token request.
const TOKEN_BODY_LIMIT: usize = 64 * 1024;
/// The longest body that is read of any other request.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// The emulator in memory: [`Emulator::service`](crate::Emulator::service).
///
/// The service continues with the same state after its [`Emulator`](crate::Emulator) is dropped.
///
/// # Examples
///
/// ```
/// use http::Request;
/// use http_body_util::BodyExt;
/// use tower::ServiceExt;
/// use turris_emulator::{Emulator, EmulatorService};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let emulator = Emulator::builder().build()?;
/// let service: EmulatorService = emulator.service();
/// let request = Request::get("/v1/agencies").body(String::new())?;
/// let response = service.oneshot(request).await?;
/// // There is no token in the request.
/// assert_eq!(response.status(), 401);
/// let error = response.into_body().collect().await?.to_bytes();
/// assert!(error.starts_with(b"{"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EmulatorService {
    shared: Arc<Shared>,
}

impl EmulatorService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl fmt::Debug for EmulatorService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmulatorService").finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for EmulatorService
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<EmulatorBody>;
    type Error = EmulatorError;
    type Future = EmulatorFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EmulatorError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> EmulatorFuture {
        // Counted in `call` and not at the first poll, because a request has arrived when `call`
        // returns.
        let in_flight = InFlight::new(&self.shared, &request);
        EmulatorFuture(Box::pin(in_flight.serve(request)))
    }
}

/// The response future of [`EmulatorService`].
///
/// # Examples
///
/// ```
/// use turris_emulator::EmulatorFuture;
///
/// async fn status(sending: EmulatorFuture) -> Option<u16> {
///     sending.await.ok().map(|response| response.status().as_u16())
/// }
/// ```
pub struct EmulatorFuture(Pin<Box<dyn Future<Output = Result<Response<EmulatorBody>, EmulatorError>> + Send>>);

impl Future for EmulatorFuture {
    type Output = Result<Response<EmulatorBody>, EmulatorError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for EmulatorFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmulatorFuture").finish_non_exhaustive()
    }
}

/// A request from its arrival to its response, or to its end without a response.
struct InFlight {
    shared: Arc<Shared>,
    is_token_request: bool,
    is_head: bool,
}

impl InFlight {
    fn new<B>(shared: &Arc<Shared>, request: &Request<B>) -> Self {
        let is_token_request = request.uri().path() == TOKEN_PATH;
        shared.record(|state| state.recorder.arrived(request, is_token_request));
        Self { shared: Arc::clone(shared), is_token_request, is_head: request.method() == Method::HEAD }
    }

    async fn serve<B>(self, request: Request<B>) -> Result<Response<EmulatorBody>, EmulatorError>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let (fault, mut cleared) = self.shared.record(|state| {
            let fault = state.faults.take(request.uri().path());
            state.recorder.counters.faults += u64::from(fault.is_some());
            (fault.unwrap_or_else(Fault::answer), self.shared.until_cleared())
        });
        match fault.wait {
            Wait::None => {}
            Wait::For(delay) => sleep(delay).await,
            // The sender is in `self.shared`, so this wait never ends with an error.
            Wait::UntilCleared => drop(cleared.changed().await),
        }
        let answer = match fault.outcome {
            Outcome::Reset => return Err(EmulatorError::reset()),
            Outcome::Status(status) => {
                answer::error(status, &["a fault was asked for"], self.shared.lock().clock.now())
            }
            Outcome::Processed => self.process(request).await?,
        };
        Ok(self.finish(answer, fault))
    }

    async fn process<B>(&self, request: Request<B>) -> Result<Answer, EmulatorError>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let admission = routes::admit(&mut self.shared.lock(), &head);
        match admission {
            Admission::Answered(answer) => Ok(answer),
            Admission::Token => Ok(match self.read(body, TOKEN_BODY_LIMIT).await? {
                Ok(body) => routes::token(&mut self.shared.lock(), &head.headers, &body),
                Err(too_long) => too_long,
            }),
            Admission::Api(admitted) => Ok(match self.read(body, BODY_LIMIT).await? {
                Ok(body) => routes::api(&mut self.shared.lock(), &head, &admitted, body),
                Err(too_long) => too_long,
            }),
        }
    }

    /// Returns the body of a request, or the response to a body that is too long.
    async fn read<B>(&self, body: B, limit: usize) -> Result<Result<Bytes, Answer>, EmulatorError>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        match Limited::new(std::pin::pin!(body), limit).collect().await {
            Ok(collected) => Ok(Ok(collected.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => {
                let now = self.shared.lock().clock.now();
                Ok(Err(answer::error(StatusCode::PAYLOAD_TOO_LARGE, &["the body is too long"], now)))
            }
            Err(error) => Err(EmulatorError::request_body(error)),
        }
    }

    /// Applies the fault to the response, sets its `Date`, and counts it.
    fn finish(&self, answer: Answer, fault: Fault) -> Response<EmulatorBody> {
        let mut state = self.shared.lock();
        state.recorder.answered(answer.status(), self.is_token_request);
        let date = httpdate::fmt_http_date(shifted(state.clock.now(), fault.date_skew_seconds));
        drop(state);

        let (mut head, mut bytes) = answer.into_parts();
        if let Ok(date) = HeaderValue::try_from(date) {
            head.headers.insert(DATE, date);
        }
        for (name, value) in &fault.headers {
            head.headers.insert(name, value.clone());
        }
        if let FaultBody::Replaced(body) = &fault.body {
            bytes = body.clone();
        }
        if matches!(head.status.as_u16(), 101 | 204 | 304) {
            return Response::from_parts(head, EmulatorBody::whole(Bytes::new()));
        }
        if !matches!(fault.body, FaultBody::Giant(_)) {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        }
        let body = match fault.body {
            _ if self.is_head => EmulatorBody::whole(Bytes::new()),
            FaultBody::Unchanged | FaultBody::Replaced(_) => EmulatorBody::whole(bytes),
            FaultBody::Truncated => EmulatorBody::truncated(&bytes),
            FaultBody::Stalled => EmulatorBody::stalled(&bytes),
            FaultBody::Giant(length) => EmulatorBody::giant(length),
        };
        Response::from_parts(head, body)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.record(|state| state.recorder.left());
    }
}
