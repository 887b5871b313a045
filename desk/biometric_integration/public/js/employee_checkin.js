frappe.ui.form.on("Employee Checkin", {
	refresh(frm) {
		if (!frm.doc.event_id || !frappe.model.can_read("Attendance Raw Log")) return;
		frm.add_custom_button(__("Raw Log"), () =>
			frappe.set_route("Form", "Attendance Raw Log", frm.doc.event_id)
		);
	},
});
