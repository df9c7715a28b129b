//! A request that waits, and its way back into flight.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    drain::Drain,
    future::Attempt,
    policy::{Admit, History, Part, Policy},
    retry_copy::RetryCopy,
};
use crate::replay::TryCloneBody;

pin_project! {
    /// A request that waits. It lives on the heap: it is large, and most requests never wait.
    ///
    /// 1. The service holds readiness only while `touched` is set, and only within one poll of a request that goes on.
    /// 2. `unsent` is there until the request leaves, which is the end of this value.
    pub(super) struct Waiting<S, P, B, R>
    where
        P: Policy,
    {
        unsent: Option<Unsent<S, B>>,
        policy: P,
        #[pin]
        wait: P::Wait,
        // The end of the refused answer, so that its connection can be used again.
        #[pin]
        drain: Option<Drain<R>>,
        // The service has been polled since it was cloned, so it may hold readiness or a place in a queue.
        touched: bool,
        // The service was not ready when the policy first let the request go.
        delayed: bool,
    }
}

/// A request, and what is needed to send it.
struct Unsent<S, B> {
    request: Request<B>,
    service: S,
    history: Box<History>,
}

/// A request in flight again.
pub(super) type Sent<F, S, P, B> = (F, Attempt<S, P, B>);

impl<S, P: Policy, B, R> Waiting<S, P, B, R> {
    /// `refused` is the body of the answer that the attempt before got.
    pub(super) fn new(
        request: Request<B>,
        service: S,
        policy: P,
        wait: P::Wait,
        refused: Option<R>,
        history: Box<History>,
    ) -> Pin<Box<Self>>
    where
        R: Body,
    {
        Box::pin(Self {
            unsent: Some(Unsent { request, service, history }),
            policy,
            wait,
            drain: refused.map(Drain::new),
            touched: false,
            delayed: false,
        })
    }
}

impl<S, P, B, R> Waiting<S, P, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<crate::BoxError>,
    P: Admit<S, B>,
    B: TryCloneBody,
    R: Body,
{
    /// Ready when the request has been sent. It must not be polled again then.
    pub(super) fn poll_send(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Sent<S::Future, S, P, B>, P::Error>> {
        let mut this = self.project();
        loop {
            let Some(Unsent { request, service, history }) = this.unsent.as_mut() else { already_sent() };
            if let Some(deadline) = &mut history.deadline
                && let Poll::Ready(error) = deadline.poll_over(cx)
            {
                return Poll::Ready(Err(P::error(Part::Deadline, error)));
            }
            if let Some(drain) = this.drain.as_mut().as_pin_mut() {
                this.policy.join_queue(this.wait.as_mut(), cx);
                ready!(drain.poll(cx));
                this.drain.set(None);
            }
            let polled = this.policy.poll_wait(this.wait.as_mut(), request, service, history, cx);
            if polled.is_pending() {
                give_readiness_back(service, this.touched);
                *this.delayed = false;
            }
            ready!(polled)?;
            *this.touched = true;
            let Poll::Ready(readiness) = service.poll_ready(cx) else {
                *this.delayed = true;
                return Poll::Pending;
            };
            readiness.map_err(|error| P::error(Part::Client, error.into()))?;
            let mut copy = None;
            if let Some(deadline) = &history.deadline {
                deadline.write(request, history.attempts);
            }
            let keep = |request: &Request<B>| copy = RetryCopy::of(request);
            let left = this.policy.leave(this.wait.as_mut(), request, service, history, *this.delayed, keep, cx);
            let Some(permit) = left else {
                give_readiness_back(service, this.touched);
                *this.delayed = false;
                continue;
            };
            let permit = permit?;
            let Some(Unsent { request, mut service, mut history }) = this.unsent.take() else { already_sent() };
            history.attempts = history.attempts.saturating_add(1);
            let response = service.call(request);
            let copy = copy.map(|copy| (copy, service));
            let policy = this.policy.clone();
            return Poll::Ready(Ok((response, Attempt { policy, permit, copy, history: Some(history) })));
        }
    }
}

/// A fresh clone takes the place of a service that may hold readiness.
fn give_readiness_back<S: Clone>(service: &mut S, touched: &mut bool) {
    if std::mem::take(touched) {
        *service = service.clone();
    }
}

#[cold]
#[expect(clippy::panic, reason = "the engine drops a request that has been sent")]
fn already_sent() -> ! {
    panic!("a waiting request was polled after it had been sent")
}
