package main

import "github.com/agentik-os/panda/internal/torture"

// scenarios are all that a run chooses from, in the order of their turns.
func scenarios() []torture.Scenario {
	return []torture.Scenario{
		torture.Failpoints(),
		torture.Kills(),
		torture.Engine(),
		torture.Recovery(),
		torture.PowerCut(),
		torture.KillAtRename(),
		torture.KillInFsync(),
		torture.DiskErrors(),
		torture.SlowDisk(),
		torture.FullDisk(),
		torture.BitFlip(),
	}
}
