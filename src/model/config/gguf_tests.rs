use super::*;

#[test]
fn a_key_is_of_one_kind() {
    let names: Vec<&str> = [READ, READ_GEMMA3, HARMLESS]
        .concat()
        .into_iter()
        .chain(REFUSED.iter().map(|(name, _)| *name))
        .collect();
    for name in &names {
        // A window is read where layers have one, and refused elsewhere.
        let most = if *name == "attention.sliding_window" { 2 } else { 1 };
        assert_eq!(names.iter().filter(|other| *other == name).count(), most, "{name}");
    }
}

#[test]
fn numbers_are_read_in_every_type_they_are_stored_in() {
    for value in [
        Value::U8(4),
        Value::I8(4),
        Value::U16(4),
        Value::I16(4),
        Value::U32(4),
        Value::I32(4),
        Value::U64(4),
        Value::I64(4),
        Value::F32(4.0),
        Value::F64(4.0),
    ] {
        assert_eq!((as_count(&value), as_float(&value)), (Some(4), Some(4.0)), "{value:?}");
    }
    for value in [
        Value::I32(-4),
        Value::F32(4.5),
        Value::F64(f64::NAN),
        Value::Bool(true),
        Value::String("4".into()),
    ] {
        assert_eq!(as_count(&value), None, "{value:?}");
    }
}
