frappe.ui.form.on("Biometric Device", {
	refresh(frm) {
		if (frm.is_new() || !frm.perm[0].write) return;
		frm.add_custom_button(__("New Token"), () =>
			frappe.confirm(__("The token of before opens nothing any more. Make a new one?"), async () => {
				const { message: token } = await frm.call("make_token");
				await frm.reload_doc();
				frappe.msgprint({
					title: __("Shown Once"),
					message: `<code>${token}</code><br>${__("Put it into the terminal now. Nobody can read it again.")}`,
				});
			})
		);
	},
});
