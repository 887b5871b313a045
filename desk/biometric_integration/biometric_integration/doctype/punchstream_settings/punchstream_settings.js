frappe.ui.form.on("Punchstream Settings", {
	refresh(frm) {
		frm.add_custom_button(__("Ask the Console"), async () => {
			if (frm.is_dirty()) await frm.save();
			const { message: time } = await frm.call("ask_console");
			frappe.msgprint({
				title: __("The Console Answers"),
				indicator: "green",
				message: time
					? __("It knows all punches up to {0}.", [frappe.utils.escape_html(time)])
					: __("It has not read all punches yet."),
			});
		});
	},
});
