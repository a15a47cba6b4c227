// Package csv stands in for the package of the same name in
// github.com/influxdata/flux; package flux, above, says why.
package csv

import (
	"errors"
	"io"
)

// ResultEncoderConfig would say how results are written as CSV.
type ResultEncoderConfig struct{}

// DefaultEncoderConfig returns the zero ResultEncoderConfig.
func DefaultEncoderConfig() ResultEncoderConfig { return ResultEncoderConfig{} }

// ResultEncoder would write results as CSV.
type ResultEncoder struct{}

// NewResultEncoder returns an encoder that encodes nothing.
func NewResultEncoder(ResultEncoderConfig) *ResultEncoder { return &ResultEncoder{} }

// EncodeError returns err with the reason why it was not encoded.
func (*ResultEncoder) EncodeError(_ io.Writer, err error) error {
	return errors.Join(errors.New("flux is not part of this program"), err)
}
