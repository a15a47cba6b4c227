package store

import (
	"errors"

	"github.com/influxdata/influxdb/coordinator"
	"github.com/influxdata/influxdb/query"
	"github.com/influxdata/influxql"
)

// statements executes InfluxQL statements. It refuses those that would be
// accepted and then do nothing, and keeps the agent's own database in being.
type statements struct {
	engine *engine
	*coordinator.StatementExecutor
}

// ExecuteStatement executes one statement and sends its results to ctx.
func (s *statements) ExecuteStatement(ctx *query.ExecutionContext, stmt influxql.Statement) error {
	switch stmt.(type) {
	case *influxql.CreateContinuousQueryStatement:
		return errors.New("the embedded store does not run continuous queries: ask for SELECT … INTO when needed, or run a real InfluxDB")
	case *influxql.CreateSubscriptionStatement:
		return errors.New("the embedded store sends nothing to subscribers: add a destination to the agent instead")
	case *influxql.CreateUserStatement, *influxql.SetPasswordUserStatement, *influxql.GrantStatement, *influxql.GrantAdminStatement:
		return errors.New("the embedded store knows no users, it answers on loopback only: run a real InfluxDB for users and passwords")
	}
	err := s.StatementExecutor.ExecuteStatement(ctx, stmt)
	switch stmt.(type) {
	case *influxql.DropDatabaseStatement, *influxql.DropRetentionPolicyStatement:
		err = errors.Join(err, s.engine.ensure()) // the agent goes on writing
	}
	return err
}
