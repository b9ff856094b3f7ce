//! At which provider a node runs.

/// A label is not longer.
const NAME_MAX: usize = 63;

/// The provider that a node's `spec.providerID` names: `aws` of `aws:///eu-central-1a/i-0ff1`, `gcp` of `gce://..`, `azure` of
/// `azure:///subscriptions/..`, and of any other the text before `://`, in small letters. `None` where it names none, as on machines
/// that are nobody's cloud, and where the text is no name of a provider.
///
/// The list of providers is open. Google's is the one whose nodes do not say what everybody calls it.
///
/// ```
/// # use plimsoll_cluster::provider::of_provider_id;
/// assert_eq!(of_provider_id("gce://shop/europe-west3-a/node-1").as_deref(), Some("gcp"));
/// assert_eq!(of_provider_id("hcloud://4711").as_deref(), Some("hcloud"));
/// assert_eq!(of_provider_id(""), None);
/// ```
#[must_use]
pub fn of_provider_id(id: &str) -> Option<String> {
    let (scheme, _) = id.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        "gce" => Some("gcp".to_owned()),
        _ => is_name(&scheme).then_some(scheme),
    }
}

/// Whether a URI's scheme is also a provider's name: a label as in RFC 1123.
fn is_name(scheme: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = scheme.starts_with(|first: char| first.is_ascii_lowercase());
    begins && !scheme.ends_with('-') && scheme.len() <= NAME_MAX && scheme.bytes().all(inside)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nodes_of_known_clouds_say_which() {
        for (id, provider) in [
            ("aws:///eu-central-1a/i-0ff1ce", Some("aws")),
            ("gce://project/europe-west3-a/gke-node", Some("gcp")),
            ("azure:///subscriptions/1/resourceGroups/g/providers/x/virtualMachines/0", Some("azure")),
            ("AWS:///a/b", Some("aws")),
            ("kind://docker/kind/kind-worker", Some("kind")),
            ("digitalocean://123", Some("digitalocean")),
            ("x://", Some("x")),
            ("", None),
            ("node-1", None),
            ("://node", None),
            ("aws:/eu/i-1", None),
            ("a cloud://1", None),
            ("-://1", None),
            ("7://1", None),
            ("a.b://1", None),
            ("a-://1", None),
        ] {
            assert_eq!(of_provider_id(id).as_deref(), provider, "{id:?}");
        }
    }

    proptest! {
        #[test]
        fn it_is_the_text_before_the_slashes_whatever_follows(
            scheme in "[a-z]([a-z0-9-]{0,20}[a-z0-9])?", rest in ".*",
        ) {
            prop_assume!(scheme != "gce");
            let told = of_provider_id(&format!("{scheme}://{rest}"));
            prop_assert_eq!(told.as_deref(), Some(scheme.as_str()));
            let told = of_provider_id(&format!("{}://{rest}", scheme.to_ascii_uppercase()));
            prop_assert_eq!(told.as_deref(), Some(scheme.as_str()));
        }

        #[test]
        fn what_it_says_of_any_text_is_a_label(id in ".*") {
            if let Some(provider) = of_provider_id(&id) {
                prop_assert!(is_name(&provider), "{provider:?}");
                prop_assert!(id.contains("://"));
            }
        }
    }
}
