//! The figures of `benches/figures`: no background, and colours that are seen on white and on dark.

use std::{fs, path::Path};

use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use turris_auth_instructions::{callgrind::Error, contenders, measure};

use crate::{
    hot, many,
    scenarios::{cold::Cold, expiry::Expiry},
    statistics::p10,
};

const TEXT: RGBColor = RGBColor(0x76, 0x83, 0x90);
const OURS: RGBColor = RGBColor(0x2f, 0x81, 0xf7);
const FLOORS: RGBColor = RGBColor(0x2d, 0xa4, 0x4e);
const OTHERS: RGBColor = RGBColor(0xd9, 0x77, 0x06);
const WIDTH: u32 = 760;

pub fn draw() -> Result<(), Error> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../figures");
    fs::create_dir_all(&directory)?;
    draw_hot(&directory.join("hot.svg"))?;
    // Before the callers whose blocks the allocator has to tidy up.
    draw_storm(&directory.join("storm.svg"))?;
    draw_cold(&directory.join("cold.svg"))?;
    draw_expiry(&directory.join("expiry.svg"))
}

struct Bar {
    label: String,
    value: f64,
    shown: String,
    color: RGBColor,
}

fn color(name: &str) -> RGBColor {
    match name {
        contenders::STATIC_HEADER => FLOORS,
        _ if is_ours(name) => OURS,
        _ => OTHERS,
    }
}

fn is_ours(name: &str) -> bool {
    ["auth", "backoff", "read_backoff", "replay"].iter().any(|prefix| name.starts_with(prefix))
}

/// What a reader of the figure knows a contender as.
fn label(name: &str) -> &str {
    match name {
        contenders::STATIC_HEADER => "AddAuthorization (static header)",
        contenders::TOWER_RETRY => "RetryLayer over AddAuthorization",
        contenders::TWO_TOWER_RETRIES => "two RetryLayers over AddAuthorization",
        contenders::AUTH_WITHOUT_RETRY => "TurrisAuth without retry",
        contenders::AUTH => "TurrisAuth",
        contenders::BACKOFF_WITHOUT_RETRY => "TurrisBackoff without retries",
        contenders::READ_BACKOFF_WITHOUT_RETRY => "TurrisBackoff without retries, GET",
        contenders::READ_BACKOFF_AUTH => "TurrisBackoff over TurrisAuth, GET",
        contenders::BACKOFF => "TurrisBackoff",
        contenders::BACKOFF_AUTH => "TurrisBackoff over TurrisAuth",
        contenders::REPLAY_AUTH => "ReplayBody over TurrisAuth",
        "arc_swap_by_hand" => "arc-swap by hand",
        "std_rwlock" => "std RwLock by hand",
        "tokio_rwlock" => "tokio RwLock by hand",
        "tokio_mutex_filter" => "AsyncFilter, tokio Mutex",
        "aws_smithy" => "aws-smithy identity cache",
        "azure_core" => "azure_core bearer policy",
        "google_cloud_auth" => "google-cloud-auth",
        other => other,
    }
}

fn draw_hot(path: &Path) -> Result<(), Error> {
    let contenders = hot::contenders();
    let table = measure::all(&contenders)?;
    let mut shown: Vec<_> = contenders.iter().filter(|contender| contender.name != contender.floor).collect();
    shown.sort_by_key(|contender| table[contender.name].instructions);
    let bar = |name: &str| {
        let own = table[name];
        Bar {
            label: label(name).to_owned(),
            value: own.ratio,
            shown: format!("{:.2}  ({} allocations)", own.ratio, own.allocations.round()),
            color: color(name),
        }
    };
    let bars: Vec<_> = shown.iter().map(|contender| bar(contender.name)).collect();
    draw_bars(path, "Own instructions of one request, a static header being 1", &bars, false)
}

fn draw_storm(path: &Path) -> Result<(), Error> {
    const CALLERS: usize = 100;
    let mut storms = many::storms(CALLERS);
    storms.sort_by_key(|(_, storm)| storm.last_error);
    let bars: Vec<_> = storms
        .iter()
        .map(|(name, storm)| {
            let last = storm.last_error.as_secs_f64() * 1_000.0;
            let calls = storm.source_calls;
            Bar {
                label: label(name).to_owned(),
                value: last,
                shown: format!("{last:.0} ms, {calls} {}", if calls == 1 { "call" } else { "calls" }),
                color: color(name),
            }
        })
        .collect();
    draw_bars(path, "100 callers, a source that fails after 20 ms: until the last one knows (logarithmic)", &bars, true)
}

fn text(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&TEXT)
}

fn at(style: &TextStyle<'static>, horizontal: HPos) -> TextStyle<'static> {
    style.pos(Pos::new(horizontal, VPos::Center))
}

fn draw_bars(path: &Path, title: &str, bars: &[Bar], logarithmic: bool) -> Result<(), Error> {
    const ROW: i32 = 28;
    const TOP: i32 = 48;
    const LABELS: i32 = 280;
    const VALUES: i32 = 170;
    let height = TOP + ROW * i32::try_from(bars.len())? + 8;
    let root = SVGBackend::new(path, (WIDTH, height.unsigned_abs())).into_drawing_area();
    root.draw(&Text::new(title.to_owned(), (WIDTH.cast_signed() / 2, 22), at(&text(16), HPos::Center)))?;
    // A tenth of the width is left for the smallest, where the axis is logarithmic and has no zero.
    let scale = |value: f64| if logarithmic { value.max(1.0).log10() } else { value.max(0.0) };
    let largest = bars.iter().map(|bar| scale(bar.value)).fold(f64::MIN_POSITIVE, f64::max);
    let room = f64::from(WIDTH.cast_signed() - LABELS - VALUES);
    for (row, bar) in (0..).zip(bars) {
        let (top, middle) = (TOP + ROW * row + 4, TOP + ROW * row + ROW / 2);
        let end = LABELS + (scale(bar.value) / largest * room).round() as i32;
        root.draw(&Text::new(bar.label.clone(), (LABELS - 10, middle), at(&text(14), HPos::Right)))?;
        root.draw(&Rectangle::new([(LABELS, top), (end.max(LABELS + 1), top + ROW - 8)], bar.color.filled()))?;
        root.draw(&Text::new(bar.shown.clone(), (end + 8, middle), at(&text(14), HPos::Left)))?;
    }
    Ok(root.present()?)
}

fn draw_cold(path: &Path) -> Result<(), Error> {
    let mut bars = Vec::new();
    for pair in many::cold().into_iter().filter(|pair| pair.callers > 1) {
        let callers = thousands(pair.callers as f64);
        let each = |runs: &[Cold]| {
            let release: Vec<_> =
                runs.iter().map(|cold| cold.release.as_secs_f64() * 1e6 / pair.callers as f64).collect();
            p10(&release)
        };
        let floor = each(&pair.floor);
        let rows = [
            ("parked on one Notify", &pair.floor, FLOORS),
            ("TurrisAuth without retry", &pair.without_retry, OURS),
            ("TurrisAuth", &pair.auth, OURS),
        ];
        for (name, runs, color) in rows {
            let own = each(runs);
            bars.push(Bar {
                label: format!("{callers} callers, {name}"),
                value: own,
                shown: format!("{own:.2} us, ratio {:.2}", own / floor),
                color,
            });
        }
    }
    draw_bars(path, "Callers that wait for a token: release of each one once it is there", &bars, false)
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

fn draw_expiry(path: &Path) -> Result<(), Error> {
    let bar = |(name, expiry): &(&str, Expiry)| Bar {
        label: label(name).to_owned(),
        value: expiry.waited as f64,
        shown: format!("{} of {}", thousands(expiry.waited as f64), thousands(expiry.requests as f64)),
        color: color(name),
    };
    let bars: Vec<_> = many::expiries().iter().map(bar).collect();
    draw_bars(
        path,
        "200 steady callers, 5 s of tokens that live for 1 s: requests that waited for a token",
        &bars,
        false,
    )
}
