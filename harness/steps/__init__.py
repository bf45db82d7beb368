"""What a scenario does besides hurting: waiting, checking, repairing, asking."""
