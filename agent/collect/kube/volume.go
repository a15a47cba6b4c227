package kube

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/causeway-agent/causeway/agent/signal"
)

func persistentVolume(r *rows, o *corev1.PersistentVolume) {
	r.of("persistentvolume", "", signal.LabelPersistentVolume, o.Name)
	r.at("kube_persistentvolume_created", o.CreationTimestamp)
	size := o.Spec.Capacity[corev1.ResourceStorage]
	r.gauge("kube_persistentvolume_capacity_bytes", "By", size.AsApproximateFloat64())
	if o.Status.Phase != "" {
		r.holds("kube_persistentvolume_status_phase", "phase", string(o.Status.Phase))
	}
	if c := o.Spec.ClaimRef; c != nil {
		r.holds("kube_persistentvolume_claim_ref", "claim_namespace", c.Namespace, "name", c.Name)
	}
	pairs := []string{"storageclass", o.Spec.StorageClassName, "reclaim_policy", string(o.Spec.PersistentVolumeReclaimPolicy)}
	s := o.Spec.PersistentVolumeSource
	switch {
	case s.CSI != nil:
		pairs = append(pairs, "csi_driver", s.CSI.Driver, "csi_volume_handle", s.CSI.VolumeHandle)
	case s.GCEPersistentDisk != nil:
		pairs = append(pairs, "gce_persistent_disk_name", s.GCEPersistentDisk.PDName)
	case s.AWSElasticBlockStore != nil:
		pairs = append(pairs, "ebs_volume_id", s.AWSElasticBlockStore.VolumeID)
	case s.AzureDisk != nil:
		pairs = append(pairs, "azure_disk_name", s.AzureDisk.DiskName)
	case s.HostPath != nil:
		pairs = append(pairs, "host_path", s.HostPath.Path)
		if s.HostPath.Type != nil {
			pairs = append(pairs, "host_path_type", string(*s.HostPath.Type))
		}
	case s.Local != nil:
		pairs = append(pairs, "local_path", s.Local.Path)
		if s.Local.FSType != nil {
			pairs = append(pairs, "local_fs", *s.Local.FSType)
		}
	case s.NFS != nil:
		pairs = append(pairs, "nfs_server", s.NFS.Server, "nfs_path", s.NFS.Path)
	case s.ISCSI != nil:
		pairs = append(pairs, "iscsi_target_portal", s.ISCSI.TargetPortal, "iscsi_iqn", s.ISCSI.IQN)
	}
	r.holds("kube_persistentvolume_info", pairs...)
	r.own("persistentvolume", o.ObjectMeta)
}

func volumeClaim(r *rows, o *corev1.PersistentVolumeClaim) {
	r.of("persistentvolumeclaim", o.Namespace, signal.LabelVolumeClaim, o.Name)
	r.at("kube_persistentvolumeclaim_created", o.CreationTimestamp)
	class, mode := o.Annotations[corev1.BetaStorageClassAnnotation], ""
	if o.Spec.StorageClassName != nil {
		class = *o.Spec.StorageClassName
	}
	if o.Spec.VolumeMode != nil {
		mode = string(*o.Spec.VolumeMode)
	}
	r.holds("kube_persistentvolumeclaim_info", "storageclass", class, "volumename", o.Spec.VolumeName, "volumemode", mode)
	if o.Status.Phase != "" {
		r.holds("kube_persistentvolumeclaim_status_phase", "phase", string(o.Status.Phase))
	}
	if q, ok := o.Spec.Resources.Requests[corev1.ResourceStorage]; ok {
		r.gauge("kube_persistentvolumeclaim_resource_requests_storage_bytes", "By", q.AsApproximateFloat64())
	}
	for _, m := range o.Spec.AccessModes {
		r.holds("kube_persistentvolumeclaim_access_mode", "access_mode", string(m))
	}
	r.own("persistentvolumeclaim", o.ObjectMeta)
}

func storageClass(r *rows, o *storagev1.StorageClass) {
	r.of("storageclass", "", signal.LabelStorageClass, o.Name)
	r.at("kube_storageclass_created", o.CreationTimestamp)
	policy, mode := "Delete", "Immediate" // the API's defaults
	if o.ReclaimPolicy != nil {
		policy = string(*o.ReclaimPolicy)
	}
	if o.VolumeBindingMode != nil {
		mode = string(*o.VolumeBindingMode)
	}
	r.holds("kube_storageclass_info", "provisioner", o.Provisioner, "reclaim_policy", policy, "volume_binding_mode", mode)
	r.own("storageclass", o.ObjectMeta)
}
