//! An answer that an `InterceptorRoute` gives itself, unchecked, and what is made of it.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resources::{ConfigMapBody, FixedBody, FixedResponse, INLINE_BODY_MAX, Invalid, check};

/// Header fields that say how the message itself is sent (RFC 9110, section 7.6.1): the proxy's business alone.
const FRAMING: [&str; 8] =
    ["connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// A fixed answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"message": "at most one of 'body' and 'bodyFromConfigMap' may be set", "rule": "!(has(self.body) && has(self.bodyFromConfigMap))"}]))]
pub struct Response {
    /// The HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 599))]
    pub status_code: Option<i32>,
    /// The body, up to 32768 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = INLINE_BODY_MAX))]
    pub body: Option<String>,
    /// Where the body stands, in place of `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_from_config_map: Option<BodyFromConfigMap>,
    /// Headers to send with it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// A body that stands in a ConfigMap with the label `http.keda.sh/response-body: "true"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BodyFromConfigMap {
    /// The ConfigMap's name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The key in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

// === impl Response ===

impl Response {
    /// The answer at this path of the resource; `status` is its status where it says none.
    pub(super) fn checked(&self, at: &str, status: u16) -> Result<FixedResponse, Invalid> {
        let status = match self.status_code {
            None | Some(0) => status,
            Some(code) => u16::try_from(code).ok().filter(|code| (200..600).contains(code)).ok_or_else(|| {
                Invalid::value(format!("{at}.statusCode"), &code, "write a final status, from 200 to 599")
            })?,
        };
        let body = self.body(at)?;
        if matches!(status, 204 | 205 | 304) && body != FixedBody::default() {
            let remedy = "write a status that allows a body, or leave the body out";
            return Err(Invalid::value(format!("{at}.statusCode"), &status, remedy));
        }
        Ok(FixedResponse { status, headers: self.headers(at)?, body })
    }

    fn body(&self, at: &str) -> Result<FixedBody, Invalid> {
        match (&self.body, &self.body_from_config_map) {
            (Some(_), Some(_)) => Err(Invalid::both(at, "body", "bodyFromConfigMap")),
            (Some(body), None) if body.len() > INLINE_BODY_MAX => Err(Invalid {
                field: format!("{at}.body"),
                what: format!("its {} bytes are too many", body.len()),
                remedy: format!("keep to {INLINE_BODY_MAX}, or put the body into a ConfigMap (bodyFromConfigMap)"),
            }),
            (Some(body), None) => Ok(FixedBody::Inline(body.as_str().into())),
            (None, Some(from)) if from.name.is_empty() => {
                Err(Invalid::value(format!("{at}.bodyFromConfigMap.name"), "", "write the ConfigMap's name"))
            }
            (None, Some(from)) => {
                let key = from.key.clone().filter(|key| !key.is_empty());
                Ok(FixedBody::ConfigMap(ConfigMapBody { name: from.name.clone(), key, texts: None }))
            }
            (None, None) => Ok(FixedBody::default()),
        }
    }

    fn headers(&self, at: &str) -> Result<Vec<(String, String)>, Invalid> {
        let mut names = BTreeSet::new();
        let checked = |(name, value): (&String, &String)| {
            let field = format!("{at}.headers.{name}");
            let Ok(rule) = check::header(&field, name, Some(value)) else {
                let remedy = "write a name such as Retry-After and a value without line ends and spaces around it";
                return Err(Invalid::value(field, value, remedy));
            };
            if FRAMING.contains(&&*rule.name) {
                let remedy = "leave it out: the proxy sets it as the message needs it";
                return Err(Invalid::value(field, value, remedy));
            }
            if !names.insert(rule.name.clone()) {
                return Err(Invalid::value(field, value, "keep one: the name is there twice, in another case"));
            }
            Ok((rule.name, value.clone()))
        };
        self.headers.iter().map(checked).collect()
    }
}
