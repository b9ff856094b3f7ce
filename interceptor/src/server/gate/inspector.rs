//! Follows what a client sends from message to message, and says how much of it may be handed on.

use super::chunks::Chunks;
use super::fault::Fault;
use super::head::{self, Bounds, Framing};

/// How every HTTP/2 connection begins (RFC 9113, section 3.4), and no request of HTTP/1.
pub(crate) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The state of a client's HTTP/1 messages. It does no I/O, and how the bytes are cut into reads does not matter to what
/// it lets in, but for one thing: a request whose fault is in the same read as its head is not let in at all.
#[derive(Debug)]
pub(crate) struct Inspector {
    bounds: Bounds,
    state: State,
    /// Of an unfinished head, the bytes that have been looked at.
    seen: usize,
    /// Requests whose heads have passed.
    requests: u64,
}

#[derive(Debug)]
enum State {
    /// Nothing has come: HTTP/2 is still possible.
    Start,
    Head,
    Length {
        remaining: u64,
        may_upgrade: bool,
    },
    Chunked {
        chunks: Chunks,
        may_upgrade: bool,
    },
    /// The request that may change the protocol is whole; the answer decides what comes next.
    Undecided,
    /// Not HTTP/1: nothing is looked at any more.
    Open,
    /// What comes is not handed on.
    Refused,
}

/// What has been found out about some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finding {
    /// So many of them may be handed on.
    pub(crate) pass: usize,
    /// What comes then, where that is a fault.
    pub(crate) fault: Option<(Fault, FoundIn)>,
}

/// Where a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FoundIn {
    /// In a request of which nothing has been handed on.
    NewRequest,
    /// In the body of a request that has been handed on in part.
    Body,
}

impl Inspector {
    /// For a new connection.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, state: State::Start, seen: 0, requests: 0 }
    }

    /// Looks at bytes; those that may not be handed on yet are to come again, with more after them.
    pub(crate) fn inspect(&mut self, bytes: &[u8]) -> Finding {
        let mut at = 0;
        // Where the request begins whose head is among these bytes.
        let mut request = None;
        loop {
            let before = at;
            match self.step(&bytes[at..]) {
                Ok(Step { taken, head }) => {
                    if head {
                        request = Some(at);
                    }
                    at += taken;
                }
                Err(fault) => {
                    let found_in = match (&self.state, request) {
                        (State::Start | State::Head, _) => FoundIn::NewRequest,
                        (_, Some(begins)) => {
                            at = begins;
                            self.requests -= 1;
                            FoundIn::NewRequest
                        }
                        (_, None) => FoundIn::Body,
                    };
                    self.state = State::Refused;
                    return Finding { pass: at, fault: Some((fault, found_in)) };
                }
            }
            if at == before && !matches!(self.state, State::Open) || at == bytes.len() {
                return Finding { pass: at, fault: None };
            }
        }
    }

    fn step(&mut self, bytes: &[u8]) -> Result<Step, Fault> {
        let mut step = Step { taken: 0, head: false };
        match &mut self.state {
            State::Start | State::Head if bytes.is_empty() => {}
            State::Start if HTTP2_PREFACE.starts_with(&bytes[..bytes.len().min(HTTP2_PREFACE.len())]) => {
                if bytes.len() >= HTTP2_PREFACE.len() {
                    self.state = State::Open;
                }
            }
            State::Start | State::Head => {
                // Only a line end can have made the head whole.
                if memchr::memchr(b'\n', &bytes[self.seen..]).is_none()
                    && self.seen > 0
                    && bytes.len() <= self.bounds.bytes
                {
                    self.seen = bytes.len();
                } else if let Some(head) = head::read(bytes, self.bounds)? {
                    step = Step { taken: head.length, head: true };
                    self.seen = 0;
                    self.requests += 1;
                    let may_upgrade = head.may_upgrade;
                    self.state = match head.framing {
                        Framing::Length(remaining) => State::Length { remaining, may_upgrade },
                        Framing::Chunked => State::Chunked { chunks: Chunks::default(), may_upgrade },
                    };
                    self.settle();
                } else {
                    self.seen = bytes.len();
                }
            }
            State::Length { remaining, .. } => {
                step.taken = usize::try_from(*remaining).unwrap_or(usize::MAX).min(bytes.len());
                *remaining -= step.taken as u64;
                self.settle();
            }
            State::Chunked { chunks, .. } => {
                step.taken = chunks.read(bytes)?;
                self.settle();
            }
            State::Open => step.taken = bytes.len(),
            State::Undecided | State::Refused => {}
        }
        Ok(step)
    }

    /// Goes on to the next message where the present one has ended.
    fn settle(&mut self) {
        let may_upgrade = match &self.state {
            State::Length { remaining: 0, may_upgrade } => *may_upgrade,
            State::Chunked { chunks, may_upgrade } if chunks.ended() => *may_upgrade,
            _ => return,
        };
        self.state = if may_upgrade { State::Undecided } else { State::Head };
    }

    /// Whether what comes next depends on the answer to a request.
    pub(crate) fn is_undecided(&self) -> bool {
        matches!(self.state, State::Undecided)
    }

    /// Requests let in so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    /// The answer has come: the protocol changes, or it does not.
    pub(crate) fn decide(&mut self, changed: bool) {
        if self.is_undecided() {
            self.state = if changed { State::Open } else { State::Head };
        }
    }

    /// Whether nothing is looked at any more.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Whether a request's head has not begun, or has and is not whole.
    pub(crate) fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Start | State::Head)
    }

    /// Lets nothing in any more.
    pub(crate) fn refuse(&mut self) {
        self.state = State::Refused;
    }
}

struct Step {
    taken: usize,
    /// What was taken is a head.
    head: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 8192, fields: 10 };

    fn inspect(bytes: &str) -> Finding {
        Inspector::new(BOUNDS).inspect(bytes.as_bytes())
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[test]
    fn requests_pass_as_they_come() {
        let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
        let all = [GET, post, CHUNKED, "1\r\nx\r\n0\r\n\r\n", GET].concat();
        assert_eq!(inspect(&all), Finding { pass: all.len(), fault: None });
        assert_eq!(inspect(&[&all, "GE"].concat()), Finding { pass: all.len(), fault: None });
    }

    #[test]
    fn what_was_right_passes_before_a_fault() {
        let found = inspect(&[GET, "GET  / HTTP/1.1\r\n"].concat());
        assert_eq!(found.pass, GET.len());
        assert!(matches!(found.fault, Some((Fault::Malformed(_), FoundIn::NewRequest))));
    }

    #[test]
    fn a_request_whose_body_is_seen_to_be_faulty_is_not_let_in() {
        let found = inspect(&[GET, CHUNKED, "5\r\nhello\r\nx\r\n"].concat());
        assert_eq!((found.pass, found.fault.map(|(_, found_in)| found_in)), (GET.len(), Some(FoundIn::NewRequest)));
    }

    #[test]
    fn a_body_that_becomes_faulty_later_ends_there() {
        let mut inspector = Inspector::new(BOUNDS);
        let head = [CHUNKED, "5\r\nhel"].concat();
        assert_eq!(inspector.inspect(head.as_bytes()), Finding { pass: head.len(), fault: None });
        let found = inspector.inspect(b"lo\r\nx\r\n");
        assert!(matches!(found.fault, Some((_, FoundIn::Body))));
        assert_eq!(inspector.inspect(GET.as_bytes()), Finding { pass: 0, fault: None });
    }

    #[test]
    fn a_change_of_protocol_is_waited_for() {
        let upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        for changed in [true, false] {
            let mut inspector = Inspector::new(BOUNDS);
            assert_eq!(inspector.inspect([upgrade, "\x01"].concat().as_bytes()).pass, upgrade.len());
            assert!(inspector.is_undecided());
            assert_eq!(inspector.inspect(b"\x01"), Finding { pass: 0, fault: None });
            inspector.decide(changed);
            let found = inspector.inspect(b"\x01");
            assert_eq!((found.pass, found.fault.is_some()), if changed { (1, false) } else { (0, true) });
        }
    }

    #[test]
    fn http_2_is_let_through_and_what_only_begins_like_it_is_not() {
        let mut inspector = Inspector::new(BOUNDS);
        assert_eq!(inspector.inspect(&HTTP2_PREFACE[..10]), Finding { pass: 0, fault: None });
        let more = [HTTP2_PREFACE, b"\0\0\0"].concat();
        assert_eq!(inspector.inspect(&more), Finding { pass: more.len(), fault: None });
        assert!(inspector.is_open());
        assert!(inspect("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").fault.is_some());
        let found = Inspector::new(BOUNDS).inspect([GET.as_bytes(), HTTP2_PREFACE].concat().as_slice());
        assert_eq!((found.pass, found.fault.is_some()), (GET.len(), true));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_and_what_passes_does_not_depend_on_how_it_comes(
            pieces in proptest::collection::vec(prop_oneof![
                Just(GET.as_bytes().to_vec()), Just(CHUNKED.as_bytes().to_vec()), Just(b"1\r\nx\r\n".to_vec()),
                Just(b"0\r\n\r\n".to_vec()), Just(b"\r\n".to_vec()), Just(HTTP2_PREFACE.to_vec()),
                Just(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..10),
            ], 0..8),
            cut in 0usize..300,
        ) {
            // Of a line that has no end yet, a fault may be found now or with its end; nothing of it passes meanwhile.
            let bytes = [pieces.concat(), b"\n".to_vec()].concat();
            let whole = Inspector::new(BOUNDS).inspect(&bytes);
            let mut inspector = Inspector::new(BOUNDS);
            let cut = cut.min(bytes.len());
            let first = inspector.inspect(&bytes[..cut]);
            let (pass, fault) = if first.fault.is_some() {
                (first.pass, first.fault)
            } else {
                let second = inspector.inspect(&bytes[first.pass..]);
                (first.pass + second.pass, second.fault)
            };
            prop_assert_eq!(fault.map(|(fault, _)| fault), whole.fault.map(|(fault, _)| fault));
            // A fault in a body takes the request back only if its head came with it.
            prop_assert!(pass >= whole.pass);
            if whole.fault.is_none() {
                prop_assert_eq!(pass, whole.pass);
            }
        }
    }
}
