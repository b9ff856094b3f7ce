//! The HTTP/2 connections of one thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{LocalBoxFuture, Shared, WeakShared};
use tokio::time::Instant;

use super::super::Origin;
use super::session::{Session, Slot, Terms};

/// What becomes of an opening.
type Opened = Result<Rc<Session>, Arc<io::Error>>;
/// A connection's opening, which all requests that need it wait for; it goes on as long as one of them does.
type Opening = Shared<LocalBoxFuture<'static, Opened>>;
/// The same, for who does not wait for it.
type WeakOpening = WeakShared<LocalBoxFuture<'static, Opened>>;

/// Connections by where they go. There are as many for one endpoint as its requests at once need.
#[derive(Debug)]
pub(crate) struct Sessions {
    terms: Terms,
    by_origin: RefCell<HashMap<Origin, OfOrigin>>,
}

#[derive(Debug, Default)]
struct OfOrigin {
    open: Vec<Rc<Session>>,
    opening: Option<WeakOpening>,
}

/// A connection with a place on it for one request.
#[derive(Debug)]
pub(crate) struct Place {
    pub(super) session: Rc<Session>,
    pub(super) slot: Slot,
}

impl Sessions {
    /// None yet.
    pub(crate) fn new(terms: Terms) -> Self {
        Self { terms, by_origin: RefCell::default() }
    }

    /// How connections are used.
    pub(crate) fn terms(&self) -> Terms {
        self.terms
    }

    /// A place for one more request, on a connection that is open.
    pub(crate) fn enter(&self, origin: &Origin) -> Option<Place> {
        let mut by_origin = self.by_origin.borrow_mut();
        let of_origin = by_origin.get_mut(origin)?;
        let now = Instant::now();
        // Retired ones go on for the requests that are on them.
        of_origin.open.retain(|session| !session.is_over(now));
        of_origin.open.iter().find_map(|session| Some(Place { session: session.clone(), slot: session.enter()? }))
    }

    /// From now on this connection is used too.
    pub(crate) fn add(&self, origin: &Origin, session: Rc<Session>) {
        self.by_origin.borrow_mut().entry(origin.clone()).or_default().open.push(session);
    }

    /// Opens one connection, however many ask for it at once: `open` is used where nobody has begun.
    ///
    /// # Errors
    /// Where it can't be opened; all who wait for it learn the same.
    pub(crate) async fn open_once(
        &self,
        origin: &Origin,
        open: impl FnOnce() -> LocalBoxFuture<'static, Opened>,
    ) -> Opened {
        let opening: Opening = {
            let mut by_origin = self.by_origin.borrow_mut();
            let of_origin = by_origin.entry(origin.clone()).or_default();
            let begun = of_origin.opening.as_ref().and_then(WeakShared::upgrade).filter(|begun| begun.peek().is_none());
            begun.unwrap_or_else(|| {
                let opening = open().shared();
                of_origin.opening = opening.downgrade();
                opening
            })
        };
        opening.await
    }

    /// Closes what has been idle too long, and forgets what has ended.
    pub(crate) fn sweep(&self, now: Instant) {
        self.by_origin.borrow_mut().retain(|_, of_origin| {
            of_origin.open.retain(|session| !session.is_over(now) && !session.is_idle(now, self.terms.idle));
            let opening = of_origin.opening.as_ref().and_then(WeakShared::upgrade);
            !of_origin.open.is_empty() || opening.is_some()
        });
    }

    /// No connection gets any more requests.
    pub(crate) fn clear(&self) {
        self.by_origin.borrow_mut().clear();
    }
}
