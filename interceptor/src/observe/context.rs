//! A trace's context in a request's head: W3C Trace Context, <https://www.w3.org/TR/trace-context/>.

use std::str::FromStr as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-` 32 digits `-` 16 digits `-` 2 digits. Later versions may go on after that.
const LENGTH: usize = 55;

/// The context that a client sends; none where it sends none, more than one, or one that can't be read.
pub(super) fn sent(headers: &HeaderMap) -> Option<SpanContext> {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
    let (trace, span, flags) = parent_of(parent.to_str().ok()?)?;
    let states: Vec<&str> = headers.get_all(TRACESTATE).iter().filter_map(|state| state.to_str().ok()).collect();
    // A state that can't be read does not spoil the parent.
    let state = TraceState::from_str(&states.join(",")).unwrap_or_default();
    let context = SpanContext::new(trace, span, flags, true, state);
    context.is_valid().then_some(context)
}

fn parent_of(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let (version, rest) = (text.get(..2)?, text.get(LENGTH..)?);
    let known = version == "00" && rest.is_empty();
    let later = version != "00" && version != "ff" && (rest.is_empty() || rest.starts_with('-'));
    let parts: Vec<&str> = text[..LENGTH].split('-').collect();
    let [_, trace, span, flags] = parts[..] else { return None };
    let sizes = (version.len(), trace.len(), span.len(), flags.len()) == (2, 32, 16, 2);
    if !(known || later) || !sizes || ![version, trace, span, flags].into_iter().all(is_hex) {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some((TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?, TraceFlags::new(flags)))
}

/// Puts our own context in the place of the client's. Its state goes on with it, unless `client` says that there was no parent
/// to go with.
pub(super) fn put(headers: &mut HeaderMap, own: &SpanContext, client: Option<&SpanContext>) {
    let flags = own.trace_flags() & TraceFlags::SAMPLED;
    let parent = format!("00-{}-{}-{:02x}", own.trace_id(), own.span_id(), flags.to_u8());
    if let Ok(parent) = HeaderValue::try_from(parent) {
        headers.insert(TRACEPARENT, parent);
    }
    if client.is_none() {
        headers.remove(TRACESTATE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(parents: &[&str]) -> HeaderMap {
        parents.iter().map(|parent| (TRACEPARENT, HeaderValue::from_str(parent).unwrap())).collect()
    }

    #[test]
    fn a_clients_context_is_read() {
        let mut headers = headers(&[PARENT]);
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        let context = sent(&headers).unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
        assert_eq!(context.trace_state().header(), "a=1,b=2");
    }

    #[test]
    fn a_later_versions_context_is_read_as_far_as_it_is_known() {
        let later = PARENT.replacen("00", "cc", 1);
        assert!(sent(&headers(&[&later])).is_some());
        assert!(sent(&headers(&[&format!("{later}-what-comes-after")])).is_some());
        assert!(sent(&headers(&[&format!("{later}x")])).is_none());
    }

    #[test]
    fn what_is_no_context_is_none() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let unknown = PARENT.replacen("00", "ff", 1);
        let longer = format!("{PARENT}-00");
        let capitals = PARENT.to_uppercase();
        for wrong in ["", "00", "x", &PARENT[..54], &longer, &capitals, &zero_trace, &zero_span, &unknown] {
            assert!(sent(&headers(&[wrong])).is_none(), "{wrong}");
        }
        assert!(sent(&headers(&[PARENT, PARENT])).is_none(), "two parents");
    }

    #[test]
    fn a_state_without_a_parent_does_not_go_on() {
        let mut without = HeaderMap::from_iter([(TRACESTATE, HeaderValue::from_static("a=1"))]);
        let own = sent(&headers(&[PARENT])).unwrap();
        put(&mut without, &own, None);
        assert_eq!(without.get(TRACESTATE), None);
        assert_eq!(without[TRACEPARENT], PARENT);
    }
}
