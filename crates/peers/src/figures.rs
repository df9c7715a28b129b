//! The figures of `benches/figures`. They have no background, and their colours are visible on
//! white and on dark.

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
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/figures");
    fs::create_dir_all(&directory)?;
    draw_hot(&directory)?;
    // Drawn first, because the following scenario leaves many freed blocks to the allocator.
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
    ["auth", "backoff", "read_backoff", "read_turris", "replay", "turris"].iter().any(|prefix| name.starts_with(prefix))
}

/// Returns the name of a contender in the figures. `None` for a contender that only serves as a
/// comparison for others.
fn label(name: &str) -> Option<&str> {
    Some(match name {
        contenders::STATIC_HEADER => "a fixed header (tower-http)",
        contenders::TOWER_RETRY => "a fixed header, one tower retry",
        contenders::TWO_TOWER_RETRIES => "a fixed header, two tower retries",
        contenders::AUTH_WITHOUT_RETRY => "TurrisAuth without retry",
        contenders::AUTH => "TurrisAuth",
        contenders::BACKOFF_WITHOUT_RETRY => "TurrisBackoff without retries",
        contenders::READ_BACKOFF_WITHOUT_RETRY => "TurrisBackoff without retries, GET",
        contenders::READ_BACKOFF_AUTH => "TurrisBackoff over TurrisAuth, GET",
        contenders::BACKOFF => "TurrisBackoff",
        contenders::BACKOFF_AUTH => "TurrisBackoff over TurrisAuth",
        contenders::TURRIS => "Turris",
        contenders::READ_TURRIS => "Turris, GET",
        contenders::REPLAY_AUTH => "ReplayBody over TurrisAuth",
        "arc_swap_by_hand" => "an arc-swap by hand",
        "std_rwlock" => "std's RwLock by hand",
        "tokio_rwlock" => "tokio's RwLock by hand",
        "tokio_mutex_filter" => "tokio's Mutex in an AsyncFilter",
        "moka" => "a moka cache",
        "aws_smithy" => "AWS SDK, identity cache",
        "azure_core" => "Azure SDK, bearer policy",
        "google_cloud_auth" => "Google Cloud, token cache",
        _ => return None,
    })
}

/// The contenders of the README's figure, and their names there.
const COST: [(&str, &str); 8] = [
    (contenders::STATIC_HEADER, "a fixed header"),
    ("std_rwlock", "a token behind a lock, by hand"),
    (contenders::AUTH, "token and retry: TurrisAuth"),
    (contenders::BACKOFF, "rate limit and retry: TurrisBackoff"),
    (contenders::TURRIS, "all of it: Turris"),
    ("azure_core", "Azure SDK, token only"),
    ("aws_smithy", "AWS SDK, token only"),
    ("google_cloud_auth", "Google Cloud, token only"),
];

fn draw_hot(directory: &Path) -> Result<(), Error> {
    let contenders = hot::contenders();
    let table = measure::all(&contenders)?;
    let bar = |name: &str, label: &str| {
        let own = table[name];
        Bar {
            label: label.to_owned(),
            value: own.ratio,
            shown: format!("{:.2}  ({} allocations)", own.ratio, own.allocations.round()),
            color: color(name),
        }
    };
    let cost: Vec<_> = COST.iter().map(|(name, label)| bar(name, label)).collect();
    let title = "What a request costs on top of the client, in instructions: a fixed header is 1";
    draw_bars(&directory.join("cost.svg"), title, &cost, false)?;

    let mut shown: Vec<_> = contenders.iter().filter(|contender| contender.name != contender.floor).collect();
    shown.sort_by_key(|contender| table[contender.name].instructions);
    let bars: Vec<_> =
        shown.iter().filter_map(|contender| label(contender.name).map(|label| bar(contender.name, label))).collect();
    let title = "Instructions of one request on top of the client: a fixed header is 1";
    draw_bars(&directory.join("hot.svg"), title, &bars, false)
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
                label: label(name).unwrap_or(name).to_owned(),
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
    // A tenth of the width remains for the smallest value, because a logarithmic axis has no zero.
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
        label: label(name).unwrap_or(name).to_owned(),
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
