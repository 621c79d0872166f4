//! Hands things over one call each, with few unanswered at a time: how pictures and sound leave this process.

use std::future::Future;
use std::time::Duration;

use capnp::Error;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

/// Sends what `next` gives until that is `None`, or until a call fails or is not answered within `stall`.
///
/// With `window` calls unanswered `next` is not asked, so what it takes from should be a place where the newest wins.
/// Dropping the future cancels the calls that are under way.
pub async fn pump<T, C>(
    window: usize,
    stall: Duration,
    mut next: impl AsyncFnMut() -> Option<T>,
    mut send: impl FnMut(T) -> C,
) -> capnp::Result<()>
where
    C: Future<Output = capnp::Result<()>>,
{
    let mut unanswered = FuturesUnordered::new();
    loop {
        let answered = if unanswered.len() >= window {
            unanswered.next().await
        } else {
            tokio::select! {
                biased;
                Some(answered) = unanswered.next() => Some(answered),
                item = next() => match item {
                    Some(item) => {
                        let call = send(item);
                        unanswered.push(async move {
                            let answer = tokio::time::timeout(stall, call).await;
                            answer.unwrap_or_else(|_| Err(Error::overloaded("the receiver has stalled".into())))
                        });
                        None
                    }
                    None => break,
                },
            }
        };
        if let Some(answer) = answered {
            answer?;
        }
    }
    while let Some(answer) = unanswered.next().await {
        answer?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn no_more_than_the_window_is_unanswered_and_the_rest_is_not_even_asked_for() {
        let asked = Rc::new(Cell::new(0));
        let answers = Rc::new(RefCell::new(Vec::new()));
        let pumping = pump(
            2,
            Duration::from_secs(10),
            async || {
                asked.set(asked.get() + 1);
                (asked.get() <= 5).then(|| asked.get())
            },
            |_| {
                let (answer, answered) = oneshot::channel::<()>();
                answers.borrow_mut().push(answer);
                async move { answered.await.map_err(|_| Error::failed("gone".into())) }
            },
        );
        tokio::pin!(pumping);
        assert!(futures::poll!(&mut pumping).is_pending());
        assert_eq!(asked.get(), 2);
        for expected in [3, 4, 5, 6] {
            let answer = answers.borrow_mut().remove(0);
            answer.send(()).expect("the pump waits for it");
            let _ = futures::poll!(&mut pumping);
            assert_eq!(asked.get(), expected);
        }
    }

    #[tokio::test]
    async fn a_receiver_that_stalls_is_given_up() {
        let pumping = pump(2, Duration::from_millis(20), async || Some(()), |()| std::future::pending());
        let error = pumping.await.expect_err("nobody answers");
        assert_eq!(error.kind, capnp::ErrorKind::Overloaded);
    }
}
