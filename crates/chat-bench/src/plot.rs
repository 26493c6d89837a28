//! Curves over a load, as a picture for people.

use std::fs;
use std::path::Path;

use plotters::prelude::*;

use crate::failure::{Failure, While};

const SIZE: (u32, u32) = (900, 540);
const FONT: (&str, u32) = ("sans-serif", 20);

/// Both axes are logarithmic.
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) curves: Vec<Curve>,
}

pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Plot {
    /// Writes it as SVG.
    pub(crate) fn write(&self, file: &Path) -> Result<(), Failure> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).while_doing("the folder of a plot")?;
        }
        let svg = self.svg().map_err(|error| Failure(format!("{}: {error}", self.title)))?;
        fs::write(file, svg).while_doing("a plot")
    }

    fn svg(&self) -> Result<String, Box<dyn std::error::Error>> {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let (x, y) = (range(points().map(|point| point.0))?, range(points().map(|point| point.1))?);
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            area.fill(&WHITE)?;
            let mut chart = ChartBuilder::on(&area)
                .caption(self.title, FONT)
                .margin(16)
                .x_label_area_size(48)
                .y_label_area_size(72)
                .build_cartesian_2d((x.0..x.1).log_scale(), (y.0..y.1).log_scale())?;
            let label = |value: &f64| value.to_string();
            let mut mesh = chart.configure_mesh();
            mesh.light_line_style(TRANSPARENT).x_label_formatter(&label).y_label_formatter(&label);
            mesh.x_desc(self.x).y_desc(self.y).draw()?;
            for (number, curve) in self.curves.iter().enumerate() {
                let style = Palette99::pick(number).stroke_width(2);
                let line = LineSeries::new(curve.points.iter().copied(), style).point_size(3);
                chart
                    .draw_series(line)?
                    .label(&curve.name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
            }
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .background_style(WHITE)
                .border_style(BLACK)
                .draw()?;
            area.present()?;
        }
        Ok(svg)
    }
}

/// From the least to the most, in whole powers of ten.
fn range(values: impl Iterator<Item = f64>) -> Result<(f64, f64), Failure> {
    let (least, most) = values.fold((f64::MAX, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    if least <= 0.0 || least > most || !most.is_finite() {
        return Err(Failure::new("there is nothing to plot, or it is not positive"));
    }
    let (from, to) = (10_f64.powf(least.log10().floor()), 10_f64.powf(most.log10().ceil()));
    Ok((from, to.max(from * 10.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<(f64, f64)>) -> Plot {
        let curves = vec![Curve { name: "p50".to_owned(), points }];
        Plot { title: "a title", x: "messages per second", y: "ms", curves }
    }

    #[test]
    fn a_plot_has_its_curves_and_what_they_mean() {
        let svg = plot(vec![(50.0, 2.0), (800.0, 9.0)]).svg().unwrap();
        for text in ["<svg", "<polyline", "a title", "messages per second", "p50"] {
            assert!(svg.contains(text), "no {text} in {svg}");
        }
    }

    #[test]
    fn axes_are_whole_powers_of_ten() {
        assert_eq!(range([22.3, 58.9].into_iter()).unwrap(), (10.0, 100.0));
        assert_eq!(range([1.0, 10_000.0].into_iter()).unwrap(), (1.0, 10_000.0));
        assert_eq!(range([10.0].into_iter()).unwrap(), (10.0, 100.0), "never nothing");
    }

    #[test]
    fn a_plot_of_nothing_is_an_error() {
        assert!(plot(Vec::new()).svg().is_err());
        assert!(plot(vec![(0.0, 1.0)]).svg().is_err());
    }
}
