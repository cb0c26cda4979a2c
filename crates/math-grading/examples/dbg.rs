fn main(){ for a in std::env::args().skip(1) { println!("{}", math_grading::debug(&a)); } }
