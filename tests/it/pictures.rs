//! The pictures of the documentation can be drawn: the program that does it is run here.

#[path = "../../examples/pictures.rs"]
#[allow(dead_code)]
mod example;

use std::path::Path;

#[test]
fn every_picture_of_the_documentation_is_drawn_and_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = std::fs::read_to_string(root.join("README.md")).unwrap();
    for page in root.join("docs").read_dir().unwrap() {
        let page = page.unwrap().path();
        if page.extension().is_some_and(|e| e == "md") {
            pages += &std::fs::read_to_string(page).unwrap();
        }
    }
    for picture in example::PICTURES {
        let svg = example::draw_picture(picture).unwrap();
        let name = picture.name;
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{name}");
        let shows = match name {
            "screen" => "Layers × tokens",
            "statistics" => "Statistics of ",
            "compare" => "Compare: ",
            other => panic!("what does {other} show?"),
        };
        assert!(svg.contains(shows), "{name} shows something else");
        let file = root.join("docs").join(name).with_extension("svg");
        assert!(
            file.is_file(),
            "cargo run --release --example pictures writes {name}.svg"
        );
        assert!(pages.contains(&format!("{name}.svg)")), "no page shows {name}.svg");
    }
    let tape = example::draw_tape().unwrap();
    assert!(tape.contains("@keyframes") && tape.ends_with("</svg>\n"));
    assert_eq!(
        std::fs::read_to_string(root.join("docs/tape.svg")).unwrap(),
        tape,
        "cargo run --release --example pictures writes tape.svg"
    );
    assert!(tape.len() < 500_000, "{} bytes", tape.len());
    assert!(pages.contains("tape.svg)"), "no page shows tape.svg");
}
