//! What plots are made of. A plot is a list of marks with their places; the template writes them, so that every text is
//! escaped there.

use serde::Serialize;

/// A drawing.
#[derive(Debug, Serialize)]
pub(in super::super) struct Plot {
    pub(in super::super) width: f64,
    pub(in super::super) height: f64,
    /// What it shows, for those who cannot see it; an ornament has none.
    pub(in super::super) title: Option<String>,
    pub(in super::super) marks: Vec<Mark>,
}

/// One mark; `tip` is shown where the pointer rests on it.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(in super::super) enum Mark {
    Line { x1: f64, y1: f64, x2: f64, y2: f64, class: &'static str },
    Rect { x: f64, y: f64, width: f64, height: f64, class: &'static str, opacity: Option<f64>, tip: Option<String> },
    Path { d: String, class: &'static str, tip: Option<String> },
    Text { x: f64, y: f64, anchor: Anchor, size: f64, class: &'static str, text: String },
}

/// Which part of a text lies at its place.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Anchor {
    Start,
    Middle,
    End,
}

/// The size of small text in plots; a plot as wide as a phone is drawn at its own size.
pub(in super::super) const SMALL: f64 = 11.0;

impl Plot {
    pub(in super::super) fn new(width: f64, height: f64, title: Option<String>) -> Self {
        Self { width: round(width), height: round(height), title, marks: Vec::new() }
    }

    pub(in super::super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &'static str) {
        self.marks.push(Mark::Line { x1: round(x1), y1: round(y1), x2: round(x2), y2: round(y2), class });
    }

    pub(in super::super) fn rect(&mut self, [x, y, width, height]: [f64; 4], class: &'static str, tip: Option<String>) {
        let [x, y, width, height] = [x, y, width, height].map(round);
        self.marks.push(Mark::Rect { x, y, width, height, class, opacity: None, tip });
    }

    /// A rectangle whose strength says something.
    pub(in super::super) fn tint(&mut self, [x, y, width, height]: [f64; 4], opacity: f64, tip: String) {
        let [x, y, width, height] = [x, y, width, height].map(round);
        let opacity = Some(round(opacity));
        self.marks.push(Mark::Rect { x, y, width, height, class: "tint", opacity, tip: Some(tip) });
    }

    pub(in super::super) fn text(
        &mut self,
        (x, y): (f64, f64),
        anchor: Anchor,
        class: &'static str,
        text: impl Into<String>,
    ) {
        self.sized((x, y), anchor, SMALL, class, text);
    }

    pub(in super::super) fn sized(
        &mut self,
        (x, y): (f64, f64),
        anchor: Anchor,
        size: f64,
        class: &'static str,
        text: impl Into<String>,
    ) {
        self.marks.push(Mark::Text { x: round(x), y: round(y), anchor, size: round(size), class, text: text.into() });
    }

    pub(in super::super) fn path(&mut self, d: String, class: &'static str, tip: Option<String>) {
        self.marks.push(Mark::Path { d, class, tip });
    }

    pub(in super::super) fn symbol(&mut self, symbol: Symbol, at: (f64, f64), tip: Option<String>) {
        let class = if matches!(symbol, Symbol::Hollow | Symbol::Bar) { "mark" } else { "dot" };
        self.path(symbol.path(at), class, tip);
    }
}

/// Hundredths are finer than any screen.
pub(in super::super) fn round(x: f64) -> f64 {
    // The sum turns a negative zero into a plain one.
    (x * 100.0).round() / 100.0 + 0.0
}

/// What stands for a value. Judges differ in symbol as well as in colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Symbol {
    Circle,
    Square,
    Triangle,
    Diamond,
    /// A hollow diamond, for a rule.
    Hollow,
    /// An upright bar, for people.
    Bar,
}

impl Symbol {
    /// That of a judge, by its place.
    pub(in super::super) fn of_judge(nth: usize) -> Self {
        [Self::Circle, Self::Square, Self::Triangle, Self::Diamond][nth % 4]
    }

    fn path(self, (x, y): (f64, f64)) -> String {
        let [x, y] = [x, y].map(round);
        match self {
            Self::Circle => format!("M{},{y}a4.5,4.5 0 1 0 9,0a4.5,4.5 0 1 0 -9,0z", round(x - 4.5)),
            Self::Square => format!("M{},{}h8v8h-8z", round(x - 4.0), round(y - 4.0)),
            Self::Triangle => format!("M{x},{}l5,9h-10z", round(y - 5.5)),
            Self::Diamond | Self::Hollow => format!("M{x},{}l5.5,5.5l-5.5,5.5l-5.5,-5.5z", round(y - 5.5)),
            Self::Bar => format!("M{x},{}v16", round(y - 8.0)),
        }
    }
}

/// A range of values, and where it lies in a plot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct Axis {
    pub(in super::super) low: f64,
    pub(in super::super) high: f64,
    pub(in super::super) step: f64,
    /// Where the lowest value lies, and where the highest.
    pub(in super::super) place: [f64; 2],
}

impl Axis {
    /// A range of round numbers that holds all values, in about five steps.
    pub(in super::super) fn over(values: impl Iterator<Item = f64>, place: [f64; 2]) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        // A single value is shown with something around it.
        let span = if high - low > 1e-9 { high - low } else { (low.abs() * 0.2).max(0.1) };
        let magnitude = 10_f64.powf((span / 5.0).log10().floor());
        let step = [1.0, 2.0, 5.0].map(|of| of * magnitude).into_iter().find(|step| span / step <= 5.0);
        let step = step.unwrap_or(10.0 * magnitude);
        // What lies on a mark but for rounding is on it.
        let slack = 1e-9;
        let (first, mut last) = ((low / step + slack).floor(), (high / step - slack).ceil());
        if last <= first {
            last = first + 1.0;
        }
        Self { low: first * step, high: last * step, step, place }
    }

    pub(in super::super) fn fixed(low: f64, high: f64, step: f64, place: [f64; 2]) -> Self {
        Self { low, high, step, place }
    }

    /// Where a value lies; what is out of range lies at the end.
    pub(in super::super) fn at(&self, value: f64) -> f64 {
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.place[0] + share * (self.place[1] - self.place[0])
    }

    pub(in super::super) fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        let Self { low, high, step, .. } = *self;
        (0..=((high - low) / step).round() as usize).map(move |nth| low + nth as f64 * step)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(values: &[f64], expected: (f64, f64, f64)) {
        let axis = Axis::over(values.iter().copied(), [0.0, 100.0]);
        let found = (round(axis.low), round(axis.high), round(axis.step));
        assert_eq!(found, expected, "{values:?}");
    }

    #[test]
    fn axes_are_of_round_numbers() {
        check(&[0.5, 0.62, 0.85], (0.5, 0.9, 0.1));
        check(&[0.5], (0.5, 0.52, 0.02));
        check(&[-0.26, 0.28], (-0.4, 0.4, 0.2));
        check(&[0.0, 1.0], (0.0, 1.0, 0.2));
        check(&[3.0, 68.0], (0.0, 80.0, 20.0));
        check(&[], (0.0, 1.0, 0.2));
        check(&[f64::NAN, 0.3], (0.3, 0.32, 0.02));
    }

    proptest! {
        #[test]
        fn an_axis_holds_its_values(values in prop::collection::vec(-1e4..1e4_f64, 1..20)) {
            let axis = Axis::over(values.iter().copied(), [10.0, 90.0]);
            for value in values {
                prop_assert!(axis.low <= value + 1e-6 && value <= axis.high + 1e-6);
                prop_assert!((10.0..=90.0).contains(&axis.at(value)));
            }
            prop_assert!((2..=8).contains(&axis.ticks().count()));
        }
    }
}
