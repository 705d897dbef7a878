//! What of the host changed, for people.

use crate::{
    clock::utc,
    control::protocol::{HostAck, HostChange, HostView},
};

/// Says what is different, each change with what was and what is.
pub(super) fn view(view: &HostView) -> String {
    let mut text = if view.changes.is_empty() {
        "the host is as it was acknowledged".to_owned()
    } else {
        format!("{} changes since the host was acknowledged", view.changes.len())
    };
    let acknowledged = utc(view.acknowledged_at_s);
    text.extend([" (", &acknowledged, " by ", &view.acknowledged_by]);
    if !view.note.is_empty() {
        text.extend([": ", &view.note]);
    }
    text.push_str(")\n");
    text.extend(view.changes.iter().map(change));
    if !view.changes.is_empty() {
        text.push_str("if it is meant to be so: limiterctl host ack\n");
    }
    for blind in &view.blind {
        text.extend(["not watched: ", blind, "\n"]);
    }
    text
}

/// Says what was acknowledged.
pub(super) fn acknowledged(ack: &HostAck) -> String {
    let mut text = format!("{} changes acknowledged\n", ack.acknowledged.len());
    text.extend(ack.acknowledged.iter().map(change));
    if let Some(why) = &ack.not_saved {
        text.extend(["forgotten when limiterd is started again: ", why, "\n"]);
    }
    text
}

fn change(change: &HostChange) -> String {
    let HostChange { what, name, was, is, seen_at_s } = change;
    format!("{} {name}\n  was   {was}\n  is    {is}\n  seen  {}\n", what.label(), utc(*seen_at_s))
}
