//! The two-party network that capnp-rpc runs on: one connection, read by `receive`, written by `outgoing`.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use capnp::Error;
use capnp::capability::Promise;
use capnp::message::{Builder, HeapAllocator, Reader};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Connection, IncomingMessage, OutgoingMessage, VatNetwork};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::Limits;
use super::outgoing::Outgoing;
use super::receive::{self, Pool, Segments, Unfinished};

struct Inner<R> {
    /// Taken out while a message is being read.
    input: Rc<RefCell<Option<R>>>,
    outgoing: Rc<Outgoing>,
    unfinished: Rc<Unfinished>,
    pool: Rc<Pool>,
    lost: CancellationToken,
    side: Side,
    limits: Limits,
    /// Dropped with the connection, which is what the driver waits for.
    _gone: oneshot::Sender<()>,
}

struct Link<R>(Rc<Inner<R>>);

struct Received(Reader<Segments>);

impl IncomingMessage for Received {
    fn get_body(&self) -> capnp::Result<capnp::any_pointer::Reader<'_>> {
        self.0.get_root()
    }
}

struct Draft {
    message: Builder<HeapAllocator>,
    outgoing: Rc<Outgoing>,
}

impl OutgoingMessage for Draft {
    fn get_body(&mut self) -> capnp::Result<capnp::any_pointer::Builder<'_>> {
        self.message.get_root()
    }

    fn get_body_as_reader(&self) -> capnp::Result<capnp::any_pointer::Reader<'_>> {
        self.message.get_root_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<(), Error>, Rc<Builder<HeapAllocator>>) {
        let message = Rc::new(self.message);
        let promise = match self.outgoing.push(Rc::clone(&message)) {
            Ok(written) => Promise::from_future(async move {
                written.await.map_err(|_| Error::disconnected("the connection ended before this was sent".into()))
            }),
            Err(error) => Promise::err(error),
        };
        (promise, message)
    }

    fn take(self: Box<Self>) -> Builder<HeapAllocator> {
        self.message
    }

    fn size_in_words(&self) -> usize {
        self.message.size_in_words()
    }
}

impl<R: AsyncRead + Unpin + 'static> Connection<Side> for Link<R> {
    fn get_peer_vat_id(&self) -> Side {
        self.0.side
    }

    fn new_outgoing_message(&mut self, first_segment_words: u32) -> Box<dyn OutgoingMessage> {
        let allocator = HeapAllocator::new().first_segment_words(first_segment_words);
        Box::new(Draft { message: Builder::new(allocator), outgoing: Rc::clone(&self.0.outgoing) })
    }

    fn receive_incoming_message(&mut self) -> Promise<Option<Box<dyn IncomingMessage>>, Error> {
        let Some(mut input) = self.0.input.borrow_mut().take() else {
            return Promise::err(Error::failed("the connection is being read already".into()));
        };
        let place = Rc::clone(&self.0.input);
        let (outgoing, unfinished) = (Rc::clone(&self.0.outgoing), Rc::clone(&self.0.unfinished));
        let (limits, pool, lost) = (self.0.limits, Rc::clone(&self.0.pool), self.0.lost.clone());
        Promise::from_future(async move {
            let read = async {
                // Whoever does not take its answers, or asks faster than we work, waits in its own socket buffer.
                while outgoing.is_high() {
                    outgoing.drained.notified().await;
                }
                while unfinished.over(&limits) {
                    unfinished.released.notified().await;
                }
                receive::message(&mut input, &limits, &pool, &unfinished).await
            };
            let message = tokio::select! {
                biased;
                () = outgoing.over.cancelled() => Err(outgoing.failure()),
                message = read => message,
            };
            if !matches!(message, Ok(Some(_))) {
                lost.cancel();
            }
            let message = message?;
            *place.borrow_mut() = Some(input);
            Ok(message.map(|message| Box::new(Received(message)) as Box<dyn IncomingMessage>))
        })
    }

    fn shutdown(&mut self, _result: capnp::Result<()>) -> Promise<(), Error> {
        let outgoing = Rc::clone(&self.0.outgoing);
        Promise::from_future(async move {
            outgoing.finish().await;
            Ok(())
        })
    }
}

/// One connection between a daemon and a client.
pub struct Network<R> {
    accepted: Option<Link<R>>,
    connected: Weak<Inner<R>>,
    driver: Shared<Promise<(), Error>>,
    lost: CancellationToken,
    side: Side,
}

impl<R: AsyncRead + Unpin + 'static> Network<R> {
    pub fn new<W: AsyncWrite + Unpin + 'static>(
        input: R,
        output: W,
        side: Side,
        limits: Limits,
        pool: Rc<Pool>,
    ) -> Self {
        let outgoing = Outgoing::new(limits);
        let lost = CancellationToken::new();
        let (gone_sender, gone) = oneshot::channel::<()>();
        let writer = Rc::clone(&outgoing).write(output);
        let driver = Promise::from_future(async move {
            let result = writer.await;
            // The RPC system must let go of the connection first, also when writing has failed.
            let _ = gone.await;
            result
        });
        let inner = Rc::new(Inner {
            input: Rc::new(RefCell::new(Some(input))),
            outgoing,
            unfinished: Rc::default(),
            pool,
            lost: lost.clone(),
            side,
            limits,
            _gone: gone_sender,
        });
        Self { connected: Rc::downgrade(&inner), accepted: Some(Link(inner)), driver: driver.shared(), lost, side }
    }

    /// Cancelled when nothing more will be received.
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }
}

impl<R: AsyncRead + Unpin + 'static> VatNetwork<Side> for Network<R> {
    fn connect(&mut self, host: Side) -> Option<Box<dyn Connection<Side>>> {
        if host == self.side {
            return None;
        }
        Some(Box::new(Link(self.connected.upgrade()?)))
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<Side>>, Error> {
        match self.accepted.take() {
            Some(link) => Promise::ok(Box::new(link)),
            None => Promise::from_future(futures::future::pending()),
        }
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), Error> {
        Promise::from_future(self.driver.clone())
    }
}
