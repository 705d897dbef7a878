//! Whose a prefix is: two classes may share one as long as no service is in both.

use std::collections::HashMap;

use ipnet::IpNet;

use super::{
    problem::{Problems, Span},
    raw::RawClass,
};

/// The classes that list each prefix, and where.
#[derive(Default)]
pub(super) struct Owners<'a> {
    by_prefix: HashMap<IpNet, Vec<(&'a RawClass, Span)>>,
}

impl<'a> Owners<'a> {
    /// Notes who lists a prefix; returns whether nobody did before for the same service.
    pub(super) fn claim(
        &mut self,
        class: &'a RawClass,
        prefix: IpNet,
        span: &Span,
        problems: &mut Problems,
    ) -> bool {
        let owners = self.by_prefix.entry(prefix).or_default();
        let Some((other, first)) = owners.iter().find(|(other, _)| share_a_service(other, class)) else {
            owners.push((class, span.clone()));
            return true;
        };
        let (message, help) = if std::ptr::eq(*other, class) {
            (format!("{prefix} is listed twice in class `{}`", class.called()), "remove one of the two")
        } else {
            (
                format!("{prefix} is in both class `{}` and class `{}`", other.called(), class.called()),
                "a prefix is in one class per service: remove it from one of the two",
            )
        };
        problems.add_related(span.clone(), message, help, (first.clone(), "listed first here"));
        false
    }
}

fn share_a_service(a: &RawClass, b: &RawClass) -> bool {
    match (&a.services, &b.services) {
        (Some(a), Some(b)) => {
            a.value.iter().any(|name| b.value.iter().any(|other| other.value == name.value))
        }
        _ => true,
    }
}
