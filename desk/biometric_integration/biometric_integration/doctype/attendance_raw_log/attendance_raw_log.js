frappe.ui.form.on("Attendance Raw Log", {
	refresh(frm) {
		frm.disable_save();
		// Nothing is stored here: there is no document that somebody made, or that could have comments and files.
		frm.page.sidebar.hide();
		frm.footer.wrapper.hide();
		frm.toggle_display("source_payload", Boolean(frm.doc.source_payload));
		frm.toggle_display("payload_missing", Boolean(frm.doc.payload_missing));
		if (frm.doc.kept_event_id) {
			frm.add_custom_button(__("Punch That Was Kept"), () =>
				frappe.set_route("Form", "Attendance Raw Log", frm.doc.kept_event_id)
			);
		}
	},
});
