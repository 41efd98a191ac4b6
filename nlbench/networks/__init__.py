"""Networks: functions of stacked parameters from inputs to features or logits, all seeds at once; no method is known here."""
