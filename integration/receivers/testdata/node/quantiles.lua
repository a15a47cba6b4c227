-- What wrk, the service's client, saw: "q 0.5 123.4" in milliseconds.
function done(summary, latency, requests)
  for _, q in pairs({50, 95, 99}) do
    print(string.format("q %d %.3f", q, latency:percentile(q) / 1000))
  end
  print(string.format("requests %d errors %d", summary.requests,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout))
end
