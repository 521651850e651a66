"""The same rooms as cytopipe, plus crash/, hostile/, twins/, ui/ and benchmarks/."""
