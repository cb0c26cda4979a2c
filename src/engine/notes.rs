//! What a user should know of a run that is allowed and yet not what its routers were made for.

use crate::trace::{RouterInfo, Scope, Settings};

/// Sentences about routers and settings that do not go together as they were measured; none where a program decides.
pub fn notes(routers: Option<&RouterInfo>, settings: &Settings) -> Vec<String> {
    let Some(routers) = routers.filter(|_| settings.program.is_none()) else {
        return Vec::new();
    };
    let mut notes = Vec::new();
    let measured = match routers.calibration {
        Some(_) => ", and their calibration was measured so",
        None => "",
    };
    let name = crate::text::escape_controls(&routers.name);
    if let Some(made_for) = routers
        .kv
        .filter(|&kv| kv != settings.kv && settings.scope == Scope::Token)
    {
        notes.push(format!(
            "the routers {name} were made for kv {made_for}{measured}; this run has kv {}",
            settings.kv
        ));
    }
    let Some(calibration) = &routers.calibration else {
        return notes;
    };
    if let Some(made_for) = routers.scope.filter(|&scope| scope != settings.scope) {
        notes.push(format!(
            "the routers {name} were made for scope {made_for}{measured}; this run has scope {}",
            settings.scope
        ));
    }
    if calibration.expected(settings.dial).is_none()
        && let Some((least, most)) = calibration.dials()
    {
        notes.push(format!(
            "nothing was measured at the dial {} for the routers {name}: their calibration goes from {least} to {most}",
            settings.dial
        ));
    }
    notes
}

/// The dial at which routers are expected to run `depth` layers a token in the mean.
///
/// # Errors
/// Without routers, without a calibration table, and for a depth outside it; with the way out.
pub fn dial_for_depth(routers: Option<&RouterInfo>, depth: f64) -> Result<f64, String> {
    let routers = routers
        .ok_or("--depth needs routers: choose some with --routers, or give the layers with --program or --budget")?;
    let calibration = routers.calibration.as_ref().ok_or_else(|| {
        format!(
            "the routers {} carry no calibration table, so nobody knows the dial of a mean depth: use --dial, or \
             --budget for a cap",
            crate::text::escape_controls(&routers.name)
        )
    })?;
    calibration.dial_for(depth).map_err(|e| format!("--depth: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Calibration, KvMode};

    fn depth_routers() -> RouterInfo {
        let table = r#"{"texts": 1, "tokens": 9, "points": [
            {"dial": -0.6, "depth": 24, "kl": 0.3, "agreement": 0.7},
            {"dial": -0.4, "depth": 28, "kl": 0.1, "agreement": 0.9}]}"#;
        RouterInfo {
            name: "depth".into(),
            scope: Some(Scope::Token),
            kv: Some(KvMode::Fill),
            calibration: Some(Calibration::parse(table, 30).unwrap()),
            ..RouterInfo::default()
        }
    }

    #[test]
    fn says_what_does_not_go_together() {
        let routers = depth_routers();
        let mut settings = Settings {
            scope: Scope::Token,
            kv: KvMode::Fill,
            ..Settings::default()
        };
        let said = |settings: &Settings| notes(Some(&routers), settings);
        assert!(said(&settings).is_empty());
        settings.kv = KvMode::Ragged;
        let note = said(&settings).remove(0);
        for part in [
            "made for kv fill",
            "calibration was measured so",
            "this run has kv ragged",
        ] {
            assert!(note.contains(part), "{note}");
        }
        (settings.kv, settings.dial) = (KvMode::Fill, -0.7);
        assert!(said(&settings)[0].contains("nothing was measured at the dial -0.7"));
        (settings.scope, settings.dial) = (Scope::Prompt, -0.5);
        assert!(said(&settings)[0].contains("made for scope token"));
        settings.program = Some(crate::program::Program::standard(30));
        assert!(said(&settings).is_empty());
        assert!(notes(None, &Settings::default()).is_empty());
        assert!(notes(Some(&RouterInfo::default()), &Settings::default()).is_empty());
    }

    #[test]
    fn a_mean_depth_sets_the_dial() {
        let routers = depth_routers();
        assert!((dial_for_depth(Some(&routers), 26.0).unwrap() + 0.5).abs() < 1e-9);
        let refused = |routers: Option<&RouterInfo>, depth| dial_for_depth(routers, depth).unwrap_err();
        assert!(refused(Some(&routers), 12.0).contains("24.0 to 28.0"));
        assert!(refused(Some(&RouterInfo::default()), 26.0).contains("carry no calibration table"));
        assert!(refused(None, 26.0).contains("--routers"));
    }
}
