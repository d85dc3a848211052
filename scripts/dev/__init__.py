"""Development tools: throw-away servers, generated data, the demo and the benchmarks."""
