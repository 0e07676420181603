//! Plots on disk.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::Command;
use std::{fmt, fs};

/// Makes PNG of SVG.
const CONVERTER: &str = "rsvg-convert";

/// Pixels of the PNG for one of the SVG.
const ZOOM: &str = "2";

/// Why a plot was not written.
#[derive(Debug)]
pub enum WriteError {
    /// The folder can't be made, or the SVG not written into it.
    Svg(io::Error),
    /// The SVG is written; the program that makes PNG of it is not there.
    NoConverter,
    /// The SVG is written; making PNG of it failed.
    Png(String),
}

/// Writes the picture as SVG, then as PNG.
pub(super) fn write(svg: &str, folder: &Path, name: &str) -> Result<(), WriteError> {
    fs::create_dir_all(folder).map_err(WriteError::Svg)?;
    let file = |extension: &str| folder.join(format!("{name}.{extension}"));
    fs::write(file("svg"), svg).map_err(WriteError::Svg)?;
    convert(CONVERTER, &file("svg"), &file("png"))
}

fn convert(converter: &str, svg: &Path, png: &Path) -> Result<(), WriteError> {
    let run = Command::new(converter).args(["--zoom", ZOOM, "--output"]).arg(png).arg(svg).output();
    match run {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr);
            Err(WriteError::Png(format!("{converter}, {}: {}", done.status, said.trim())))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Err(WriteError::NoConverter),
        Err(e) => Err(WriteError::Png(format!("{converter}: {e}"))),
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Svg(e) => write!(f, "the plot was not written: {e}"),
            Self::NoConverter => write!(
                f,
                "the plot was written as SVG only: for PNG, install {CONVERTER} \
                 (on Debian and Ubuntu: apt install librsvg2-bin)"
            ),
            Self::Png(why) => write!(f, "the plot was written as SVG only: {why}"),
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Svg(e) => Some(e),
            Self::NoConverter | Self::Png(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_converter_it_says_what_to_install() {
        let error = convert("no-such-rsvg-convert", Path::new("a.svg"), Path::new("a.png"));
        let error = error.expect_err("there is no such program");
        assert!(matches!(error, WriteError::NoConverter));
        assert!(error.to_string().contains("librsvg2-bin"), "{error}");
    }

    #[test]
    fn a_converter_that_fails_is_no_panic() {
        let error = convert("false", Path::new("a.svg"), Path::new("a.png"));
        assert!(matches!(error, Err(WriteError::Png(_))), "{error:?}");
    }

    #[test]
    fn the_svg_is_written_with_or_without_the_png() {
        let folder = std::env::temp_dir().join(format!("eddy-plot-{}", std::process::id()));
        let svg = r#"<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>"#;
        let written = write(svg, &folder, "one");
        let read = fs::read_to_string(folder.join("one.svg"));
        let png = folder.join("one.png").exists();
        fs::remove_dir_all(&folder).expect("it was made");
        assert_eq!(read.expect("it is there"), svg);
        match written {
            Ok(()) => assert!(png),
            Err(error) => assert!(matches!(error, WriteError::NoConverter), "{error}"),
        }
    }

    #[test]
    fn a_folder_that_cannot_be_is_told() {
        let error = write("", Path::new("/dev/null/plots"), "one");
        assert!(matches!(error, Err(WriteError::Svg(_))), "{error:?}");
    }
}
