//! Who is told: a result as a structure, and its views for files, pages and terminals.
//!
//! ```text
//! result   what a run found, schema dropstone.bench.result/1
//! fill     from what a run left to that structure    merge  several results to one
//! json     that schema as bytes, read and written
//! csv      one row per interval           hgrm  percentile tables        hlog  histograms per interval
//! files    all files of a result in a directory
//! svg      the plots                      html  one page that works offline
//! table    summary for a terminal         tui   a live view
//! compare  two results, with intervals and gates
//! face     `dropstone bench compare` and `dropstone bench report`
//! ```

pub mod result;

pub mod fill;
pub mod merge;

pub mod json;

pub mod csv;
pub mod hgrm;
pub mod hlog;

pub mod words;

pub mod svg;

pub mod html;

pub mod files;

pub mod table;
pub mod tui;

pub mod compare;

pub mod face;
