//! What is made of repeated measurements.

/// The value that the given share of the samples keeps below.
pub fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// What the machine does when nothing else wants it: noise only ever adds.
pub fn p10(samples: &[f64]) -> f64 {
    quantile(samples, 0.1)
}
