package gcpintake

import (
	"math"

	"google.golang.org/genproto/googleapis/api/distribution"
)

// Quantile estimates the q-quantile of a distribution as Cloud Monitoring's
// percentile aligners do: within a bucket as if its values were spread evenly. NaN
// where it lies outside of the finite buckets, or there is none.
func Quantile(d *distribution.Distribution, q float64) float64 {
	var bound func(i int) float64 // upper bound of bucket i
	finite := 0                   // bounds
	switch o := d.GetBucketOptions().GetOptions().(type) {
	case *distribution.Distribution_BucketOptions_ExplicitBuckets:
		bounds := o.ExplicitBuckets.GetBounds()
		finite, bound = len(bounds), func(i int) float64 { return bounds[i] }
	case *distribution.Distribution_BucketOptions_ExponentialBuckets:
		e := o.ExponentialBuckets
		finite = int(e.GetNumFiniteBuckets()) + 1
		bound = func(i int) float64 { return e.GetScale() * math.Pow(e.GetGrowthFactor(), float64(i)) }
	}
	rank, seen := q*float64(d.GetCount()), 0.0
	for i, n := range d.GetBucketCounts() {
		if n == 0 || seen+float64(n) < rank {
			seen += float64(n)
			continue
		}
		if i == 0 || i >= finite {
			return math.NaN()
		}
		return bound(i-1) + (bound(i)-bound(i-1))*(rank-seen)/float64(n)
	}
	return math.NaN()
}
