package main

import "github.com/agentik-os/panda/internal/torture"

// scenarios are all that a run chooses from, in the order of their turns.
func scenarios() []torture.Scenario {
	all := []torture.Scenario{
		torture.Failpoints(),
		torture.Simulation(),
		torture.Kills(),
		torture.Shards(),
		torture.Engine(),
		torture.Recovery(),
		torture.ClusterFaults(),
		torture.PowerCut(),
		torture.KillAtRename(),
		torture.KillInFsync(),
		torture.DiskErrors(),
		torture.SlowDisk(),
		torture.FullDisk(),
		torture.BitFlip(),
	}
	return append(all, torture.Controls(all...))
}
