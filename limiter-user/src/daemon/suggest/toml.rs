//! A suggestion as configuration: every value with its evidence above it.

use super::{HEADROOM_MAX, sensible};
use crate::{
    config::Service,
    control::protocol::{SuggestedProbe, SuggestedService, Suggestion},
};

/// Returns the text.
pub(super) fn text(suggestion: &Suggestion, services: &[Service], quantile: f64, headroom: f64) -> String {
    debug_assert!(headroom <= HEADROOM_MAX, "checked when it was read");
    let mut text = format!("# Suggested by limiterctl: quantile {quantile}, head-room {headroom}.\n");
    for remark in &suggestion.remarks {
        line(&mut text, format_args!("# - {remark}"));
    }
    for (seen, service) in suggestion.services.iter().zip(services) {
        text.push('\n');
        write_service(&mut text, seen, service, quantile, headroom);
    }
    if !suggestion.probes.is_empty() {
        text.push('\n');
        write_probes(&mut text, &suggestion.probes);
    }
    text
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.push_str(&what.to_string());
    text.push('\n');
}

fn write_service(
    text: &mut String,
    seen: &SuggestedService,
    service: &Service,
    quantile: f64,
    headroom: f64,
) {
    let ports = service.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    line(text, format_args!("[[service]]\nname = \"{}\"\nports = [{ports}]", seen.name));
    if seen.sources == 0 {
        line(text, format_args!("# No source was seen: these are the usual limits."));
    } else {
        let of = format!("of {} sources, {} % ", seen.sources, quantile * 100.0);
        let why = |what: &str, at: u32, most: u32, suggested: u32| {
            let derived = sensible(f64::from(at) * headroom);
            let outcome = if derived < suggested {
                format!("{derived}, under the usual {suggested}, which is kept")
            } else {
                derived.to_string()
            };
            format!("# {what}: {of}had up to {at}, one had {most}; {at} x {headroom} gives {outcome}.")
        };
        line(
            text,
            format_args!("{}", why("Open at once", seen.open, seen.open_max, seen.connections_per_source)),
        );
        line(text, format_args!("connections_per_source = {}", seen.connections_per_source));
        line(
            text,
            format_args!(
                "{}",
                why("New per minute", seen.per_minute, seen.per_minute_max, seen.new_per_minute)
            ),
        );
    }
    if seen.sources == 0 {
        line(text, format_args!("connections_per_source = {}", seen.connections_per_source));
    }
    line(
        text,
        format_args!(
            "new_connections_per_source = {{ per_minute = {}, burst = {} }}",
            seen.new_per_minute, seen.burst
        ),
    );
    if seen.total > 0 {
        line(
            text,
            format_args!(
                "# All together had up to {} open. A ceiling follows from what the server can take; it is not under\n\
                 # connections_total = {}",
                seen.total,
                sensible(f64::from(seen.total) * headroom)
            ),
        );
    }
}

fn write_probes(text: &mut String, probes: &[SuggestedProbe]) {
    line(
        text,
        format_args!(
            "# These come by the clock, send nothing and go: they look like probes. Find out whose they are before\n\
             # you paste this: whoever is exempt is never refused."
        ),
    );
    let mut prefixes: Vec<&str> = Vec::new();
    let mut services: Vec<&str> = Vec::new();
    for probe in probes {
        line(
            text,
            format_args!(
                "# {} at {}: every {:.1} s, evenness {:.2} over {} windows (0 is a clock, 1 is chance); of {} \
                 connections {:.0} % sent nothing and {:.0} % were gone at once.",
                probe.prefix,
                probe.service,
                probe.interval_s,
                probe.dispersion,
                probe.windows,
                probe.ended,
                probe.silent * 100.0,
                probe.brief * 100.0
            ),
        );
        if !prefixes.contains(&probe.prefix.as_str()) {
            prefixes.push(&probe.prefix);
        }
        if !services.contains(&probe.service.as_str()) {
            services.push(&probe.service);
        }
    }
    line(
        text,
        format_args!(
            "[[class]]\nname = \"suggested-probes\"\nprefixes = {}\nservices = {}\nexempt = true",
            list(&prefixes),
            list(&services)
        ),
    );
}

fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("[{}]", quoted.join(", "))
}
