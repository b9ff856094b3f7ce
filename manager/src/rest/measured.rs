//! Counts requests by call and status.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;
use utoipa::openapi::OpenApi;

use crate::metrics::{RestMetrics, call};

/// What is not of the API.
const OTHER: &str = "other";

/// The calls' names in metrics: their paths, with what differs left open, so that there are few.
#[derive(Debug)]
pub struct Names(Vec<String>);

impl Names {
    pub fn new(description: &OpenApi) -> Self {
        Self(description.paths.paths.keys().cloned().collect())
    }

    fn of(&self, path: &str) -> &str {
        let fits = |template: &&String| {
            let (mut open, mut given) = (template.split('/'), path.split('/'));
            let all = open.by_ref().zip(given.by_ref()).all(|(open, given)| open.starts_with('{') || open == given);
            all && template.matches('/').count() == path.matches('/').count()
        };
        self.0.iter().find(fits).map_or(OTHER, String::as_str)
    }
}

/// Counts the request when its answer begins.
pub async fn count(
    State((names, metrics)): State<(Arc<Names>, Arc<RestMetrics>)>,
    request: Request,
    next: Next,
) -> Response {
    let route = names.of(request.uri().path()).to_owned();
    // Methods are the client's to invent; labels are not.
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE") => known.to_owned(),
        _ => OTHER.to_owned(),
    };
    let began = Instant::now();
    let response = next.run(request).await;
    metrics.seconds.observe(began.elapsed().as_secs_f64());
    metrics.requests.get_or_create(&call(method, route, response.status().as_u16())).inc();
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_the_name_of_its_call() {
        let names = Names(["/a/{b}", "/a/{b}/c", "/a"].map(str::to_owned).to_vec());
        assert_eq!(names.of("/a"), "/a");
        assert_eq!(names.of("/a/x"), "/a/{b}");
        assert_eq!(names.of("/a/x/c"), "/a/{b}/c");
        for other in ["/a/x/d", "/a/x/c/d", "/b", "/", ""] {
            assert_eq!(names.of(other), OTHER, "{other}");
        }
    }
}
