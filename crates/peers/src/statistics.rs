//! Statistics of repeated measurements.

/// Returns the value below which the given share of the samples lies.
pub fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// Returns the time on an otherwise idle machine: noise only ever adds time.
pub fn p10(samples: &[f64]) -> f64 {
    quantile(samples, 0.1)
}
