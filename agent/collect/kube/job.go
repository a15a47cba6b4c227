package kube

import (
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/causeway-agent/causeway/agent/signal"
)

func job(r *rows, o *batchv1.Job) {
	r.of("job", o.Namespace, signal.LabelJob, o.Name, signal.LabelCronJob, cronJobOf(o))
	r.at("kube_job_created", o.CreationTimestamp)
	r.holds("kube_job_info")
	r.owners("kube_job_owner", o.OwnerReferences)
	r.number("kube_job_spec_parallelism", o.Spec.Parallelism)
	r.number("kube_job_spec_completions", o.Spec.Completions)
	if s := o.Spec.ActiveDeadlineSeconds; s != nil {
		r.gauge("kube_job_spec_active_deadline_seconds", "s", float64(*s))
	}
	r.count("kube_job_status_active", o.Status.Active)
	r.count("kube_job_status_succeeded", o.Status.Succeeded)
	if o.Status.Ready != nil {
		r.count("kube_job_status_ready", *o.Status.Ready)
	}
	r.when("kube_job_status_start_time", o.Status.StartTime)
	r.when("kube_job_status_completion_time", o.Status.CompletionTime)
	reason := ""
	for _, c := range o.Status.Conditions {
		switch c.Type {
		case batchv1.JobComplete:
			r.holds("kube_job_complete", "condition", status(c.Status))
		case batchv1.JobFailed:
			r.holds("kube_job_failed", "condition", status(c.Status))
			if c.Status == corev1.ConditionTrue {
				reason = c.Reason
			}
		}
	}
	r.count("kube_job_status_failed", o.Status.Failed, "reason", reason)
	r.own("job", o.ObjectMeta)
}

// cronJobOf returns the name of the cron job that made a job, or "".
func cronJobOf(o *batchv1.Job) string {
	for _, ref := range o.OwnerReferences {
		if ref.Kind == "CronJob" {
			return ref.Name
		}
	}
	return ""
}

func cronjob(r *rows, o *batchv1.CronJob) {
	r.of("cronjob", o.Namespace, signal.LabelCronJob, o.Name)
	r.at("kube_cronjob_created", o.CreationTimestamp)
	zone := ""
	if o.Spec.TimeZone != nil {
		zone = *o.Spec.TimeZone
	}
	r.holds("kube_cronjob_info", "schedule", o.Spec.Schedule, "concurrency_policy", string(o.Spec.ConcurrencyPolicy), "timezone", zone)
	suspended := o.Spec.Suspend != nil && *o.Spec.Suspend
	r.flag("kube_cronjob_spec_suspend", suspended)
	if s := o.Spec.StartingDeadlineSeconds; s != nil {
		r.gauge("kube_cronjob_spec_starting_deadline_seconds", "s", float64(*s))
	}
	r.number("kube_cronjob_spec_successful_job_history_limit", o.Spec.SuccessfulJobsHistoryLimit)
	r.number("kube_cronjob_spec_failed_job_history_limit", o.Spec.FailedJobsHistoryLimit)
	r.large("kube_cronjob_status_active", int64(len(o.Status.Active)))
	r.when("kube_cronjob_status_last_schedule_time", o.Status.LastScheduleTime)
	r.when("kube_cronjob_status_last_successful_time", o.Status.LastSuccessfulTime)
	// An opaque word by contract, and the number kube-state-metrics makes of it.
	if v, err := strconv.ParseUint(o.ResourceVersion, 10, 64); err == nil {
		r.gauge("kube_cronjob_metadata_resource_version", "1", float64(v))
	}
	if !suspended {
		from := o.CreationTimestamp.Time
		if o.Status.LastScheduleTime != nil {
			from = o.Status.LastScheduleTime.Time
		}
		if next, ok := nextSchedule(o.Spec.Schedule, zone, from); ok {
			r.gauge("kube_cronjob_next_schedule_time", "s", float64(next.Unix()))
		}
	}
	r.own("cronjob", o.ObjectMeta)
}

// nextSchedule returns the first moment after from at which a cron schedule
// fires. A schedule or zone that cannot be read, and one that never fires, has none.
func nextSchedule(schedule, zone string, from time.Time) (time.Time, bool) {
	// The controller manager's own zone is unknown here; in nearly every cluster it is UTC.
	loc := time.UTC
	if rest, ok := cutZone(schedule); ok { // the old way of naming a zone
		zone, schedule, _ = strings.Cut(rest, " ")
	}
	if zone != "" {
		l, err := time.LoadLocation(zone)
		if err != nil {
			return time.Time{}, false
		}
		loc = l
	}
	c, ok := parseCron(strings.TrimSpace(schedule))
	if !ok {
		return time.Time{}, false
	}
	return c.next(from.In(loc))
}

func cutZone(s string) (rest string, ok bool) {
	if rest, ok = strings.CutPrefix(s, "CRON_TZ="); ok {
		return rest, true
	}
	return strings.CutPrefix(s, "TZ=")
}
