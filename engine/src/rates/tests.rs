//! Buckets against an exact model, and what rounding does.

use super::*;

/// A bucket of tokens as it is explained: so many, refilled all the time, no fewer than none.
/// Exact: tokens are counted in parts of a thousand million.
struct Model {
    tokens: u128,
    full: u128,
    per_second: u128,
    at: u64,
}

impl Model {
    fn new(per_second: u32, burst: u32) -> Self {
        let full = u128::from(burst) * u128::from(SECOND);
        Self {
            tokens: full,
            full,
            per_second: per_second.into(),
            at: 0,
        }
    }

    fn take(&mut self, now: u64, count: u64) -> bool {
        let gained = u128::from(now - self.at) * self.per_second;
        self.tokens = (self.tokens + gained).min(self.full);
        self.at = now;
        let cost = u128::from(count) * u128::from(SECOND);
        let enough = cost <= self.tokens;
        if enough {
            self.tokens -= cost;
        }
        enough
    }
}

fn rates(per_second: u32, burst: u32, policy: RatePolicy) -> Rates {
    let rate = Rate { per_second, burst };
    Rates {
        messages: rate,
        bytes: rate,
        policy,
    }
}

/// The next number of a linear congruential generator.
fn next(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn what_is_taken_is_what_an_exact_bucket_gives() {
    // Rates of which a token takes a whole number of nanoseconds: nothing is rounded.
    for seed in 0..200 {
        let mut state = seed;
        let per_second = [1, 2, 4, 5, 10, 100, 1_000, 62_500, 1_000_000]
            [usize::try_from(next(&mut state) % 9).unwrap()];
        let burst = 1 + u32::try_from(next(&mut state) % 50).unwrap();
        let paces = Paces::new(&rates(per_second, burst, RatePolicy::Close));
        let mut buckets = Buckets::default();
        let mut model = Model::new(per_second, burst);
        let mut now = 0;
        for step in 0..500 {
            now += next(&mut state) % (3 * SECOND / u64::from(per_second));
            let count = 1 + next(&mut state) % 4;
            let taken = buckets.take(&paces, now, What::Bytes, count);
            assert_eq!(taken, model.take(now, count), "seed {seed}, step {step}");
        }
    }
}

#[test]
fn rounding_gives_away_less_than_a_thousandth_and_never_takes() {
    for per_second in [3, 7, 999, 12_345, 300_007, 999_983] {
        let burst = 5;
        let paces = Paces::new(&rates(per_second, burst, RatePolicy::Close));
        let (mut buckets, mut model) = (Buckets::default(), Model::new(per_second, burst));
        let (mut taken, mut due, mut now) = (0_u64, 0_u64, 0);
        // Asks far more often than tokens come, for 2,000 tokens.
        for _ in 0..20_000 {
            now += SECOND / u64::from(per_second) / 10;
            taken += u64::from(buckets.take(&paces, now, What::Messages, 1));
            due += u64::from(model.take(now, 1));
        }
        assert!(taken >= due, "{per_second}: {taken} of {due}");
        assert!(
            taken - due <= 2 + due / 1_000,
            "{per_second}: {taken} of {due}"
        );
    }
}

#[test]
fn a_burst_is_there_at_once_and_nothing_beyond_it() {
    for (per_second, burst) in [(1, 1), (3, 3), (7, 100), (1_000_000, 3), (10, 0)] {
        let paces = Paces::new(&rates(per_second, burst, RatePolicy::Close));
        let burst = if burst == 0 { per_second } else { burst };
        let mut buckets = Buckets::default();
        let now = 77 * SECOND;
        for _ in 0..burst {
            assert!(buckets.take(&paces, now, What::Messages, 1));
        }
        assert!(!buckets.take(&paces, now, What::Messages, 1));
        assert!(buckets.take(&paces, now, What::Bytes, burst.into()));
        assert!(!buckets.take(&paces, now, What::Bytes, 1));
    }
}

#[test]
fn who_is_slowed_down_owes_and_waits_for_as_long_as_it_takes() {
    let paces = Paces::new(&rates(10, 10, RatePolicy::Slow));
    let mut buckets = Buckets::default();
    assert!(buckets.take(&paces, 0, What::Messages, 9));
    assert_eq!(buckets.wait(&paces, 0), None);
    assert!(buckets.take(&paces, 0, What::Messages, 1));
    let tenth = SECOND / 10;
    assert_eq!(buckets.wait(&paces, 0), Some((What::Messages, tenth)));
    assert!(buckets.take(&paces, 0, What::Bytes, 30));
    assert_eq!(buckets.wait(&paces, 0), Some((What::Bytes, 21 * tenth)));
    assert_eq!(buckets.wait(&paces, 21 * tenth), None);
    // A read of nothing but fragments.
    assert!(buckets.take(&paces, 0, What::Messages, 1_000_000));
    let wait = buckets.wait(&paces, 0).unwrap().1;
    assert!(wait <= nanos(DEBT_MAX) + tenth, "{wait}");
}

#[test]
fn who_is_slowed_down_may_say_what_it_is_let_go_on_too_late_for() {
    // A burst of one, a thousand a second, and a wake every 256 ms: none is lost.
    let paces = Paces::new(&rates(1_000, 1, RatePolicy::Slow));
    let mut buckets = Buckets::default();
    let (mut said, mut now) = (0, 0);
    for _ in 0..100 {
        now += 256_000_000;
        while buckets.wait(&paces, now).is_none() {
            assert!(buckets.take(&paces, now, What::Messages, 1));
            said += 1;
        }
    }
    assert!((25_600..=25_601).contains(&said), "{said}");
}

#[test]
fn no_rate_is_no_limit() {
    let paces = Paces::new(&Rates::default());
    assert!(paces.is_off() && Rates::default().is_off());
    let mut buckets = Buckets::default();
    for _ in 0..1_000 {
        assert!(buckets.take(&paces, 0, What::Messages, u64::from(u32::MAX)));
    }
    assert_eq!(buckets.wait(&paces, 0), None);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn many_threads_share_a_meter_and_get_no_more_than_it_has() {
    let start = Instant::now();
    let meter = SharedMeter::new(&rates(1_000, 5_000, RatePolicy::Close), start);
    let taken = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for step in 0..20_000 {
                    // Two seconds pass.
                    let now = start + Duration::from_micros(step * 100);
                    let got = meter.take(now, What::Messages, 1);
                    taken.fetch_add(got.into(), Ordering::Relaxed);
                }
            });
        }
    });
    // Threads are not at the same moment: the last one may be a second bucket behind.
    let taken = taken.into_inner();
    assert!((6_999..=7_001).contains(&taken), "{taken}");
}
