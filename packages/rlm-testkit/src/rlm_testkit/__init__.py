"""What tests, benchmarks and the documentation share: a scripted provider, fakes, drivers of real programs."""
