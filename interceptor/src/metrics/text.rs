//! The two formats of `/metrics`: OpenMetrics where it is asked for, else Prometheus' older text format 0.0.4.

/// How a page of metrics is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>; it alone has exemplars.
    OpenMetrics,
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/>, version 0.0.4.
    Text,
}

impl Format {
    /// The one that the `Accept` fields of a request prefer; the older one where none is preferred.
    pub(crate) fn asked<'a>(accept: impl Iterator<Item = &'a str>) -> Self {
        let (mut open_metrics, mut text, mut any) = (0.0_f32, None, None);
        for range in accept.flat_map(|field| field.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
            let weight_of = match kind.as_str() {
                "application/openmetrics-text" => &mut open_metrics,
                "text/plain" => text.get_or_insert(0.0),
                "text/*" | "*/*" => any.get_or_insert(0.0),
                _ => continue,
            };
            *weight_of = weight_of.max(weight);
        }
        let text = text.or(any).unwrap_or(0.0);
        if open_metrics > 0.0 && open_metrics >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// The media type.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Rewrites a page of OpenMetrics in the older format: what differs is how families are named and typed, and that there are no
/// units, exemplars and end mark.
pub(super) fn from_open_metrics(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut help = "";
    for line in page.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "gauge" | "stateset" => ("", "gauge"),
                "histogram" => ("", "histogram"),
                "summary" => ("", "summary"),
                _ => ("", "untyped"),
            };
            for part in ["# HELP ", name, suffix, " ", help, "\n# TYPE ", name, suffix, " ", kind, "\n"] {
                text.push_str(part);
            }
        } else if !line.starts_with('#') {
            push_sample(&mut text, without_exemplar(line));
        }
    }
    text
}

/// The older format writes a bucket's whole bound without a point, and it is the same series only where it is written the same.
fn push_sample(text: &mut String, sample: &str) {
    let bound = sample.split_once("le=\"").and_then(|(before, rest)| Some((before, rest.split_once('"')?)));
    match bound {
        Some((before, (bound, after))) => {
            let bound = bound.strip_suffix(".0").unwrap_or(bound);
            for part in [before, "le=\"", bound, "\"", after] {
                text.push_str(part);
            }
        }
        None => text.push_str(sample),
    }
    text.push('\n');
}

/// A sample up to its value. A label's value may look like an exemplar, so it is skipped as a whole.
fn without_exemplar(sample: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in sample.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'#' if !quoted => return sample[..at].trim_end(),
            _ => {}
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_format_is_taken_and_the_older_one_without_preference() {
        let asked = |accept: &str| Format::asked([accept].into_iter());
        for open_metrics in [
            "application/openmetrics-text",
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text; version=1.0.0; q=0.3, */*;q=0.1",
        ] {
            assert_eq!(asked(open_metrics), Format::OpenMetrics, "{open_metrics}");
        }
        for text in [
            "",
            "*/*",
            "text/html, */*",
            "application/openmetrics-text;q=0",
            "text/plain;version=0.0.4, application/openmetrics-text;q=0.9",
        ] {
            assert_eq!(asked(text), Format::Text, "{text}");
        }
        assert_eq!(Format::asked(std::iter::empty()), Format::Text);
    }

    #[test]
    fn only_what_the_older_format_does_not_know_is_changed() {
        let page = "# HELP a Help.\n# TYPE a counter\na_total{x=\"a # b\\\" # c\"} 1 # {trace_id=\"7\"} 0.5 1.0\n\
                    # HELP b_seconds B.\n# TYPE b_seconds histogram\n# UNIT b_seconds seconds\n\
                    b_seconds_bucket{le=\"1.0\",x=\"y\"} 1\nb_seconds_sum 1.0\n# EOF\n";
        let text = "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"a # b\\\" # c\"} 1\n\
                    # HELP b_seconds B.\n# TYPE b_seconds histogram\n\
                    b_seconds_bucket{le=\"1\",x=\"y\"} 1\nb_seconds_sum 1.0\n";
        assert_eq!(from_open_metrics(page), text);
    }
}
