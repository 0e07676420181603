//! The suite in virtual time, with a kind driver and three unkind ones.

use eddy_conformance::reference;

eddy_conformance::suite!(plain, reference::Plain);
eddy_conformance::suite!(late, reference::Late);
eddy_conformance::suite!(spurious, reference::Spurious);
eddy_conformance::suite!(chunked, reference::Chunked);
