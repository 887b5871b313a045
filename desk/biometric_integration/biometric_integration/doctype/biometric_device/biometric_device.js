frappe.ui.form.on("Biometric Device", {
	refresh(frm) {
		if (frm.is_new() || !frm.perm[0].write) return;
		frm.add_custom_button(__("New Token"), () => make_token(frm));
		frm.add_custom_button(__("Test"), () => test_device(frm), __("Punchstream"));
		frm.add_custom_button(__("Backfill"), () => ask_again(frm), __("Punchstream"));
	},
});

function make_token(frm) {
	frappe.confirm(__("The token of before opens nothing any more. Make a new one?"), async () => {
		const { message: token } = await frm.call("make_token");
		await frm.reload_doc();
		frappe.msgprint({
			title: __("Shown Once"),
			message: `<code>${token}</code><br>${__("Put it into the terminal now. Nobody can read it again.")}`,
		});
	});
}

async function test_device(frm) {
	const { message: checks } = await frm.call({
		doc: frm.doc,
		method: "test_device",
		freeze: true,
		freeze_message: __("The device is asked, for 30 seconds at most"),
	});
	const text = frappe.utils.escape_html;
	const rows = checks.map(
		(each) =>
			`<tr><td>${each.ok ? __("good") : `<b class="text-danger">${__("wrong")}</b>`}</td>
			<td>${text(each.check)}</td><td>${text(each.detail)}</td></tr>`
	);
	frappe.msgprint({
		title: __("Test of {0}", [text(frm.doc.name)]),
		indicator: checks.every((each) => each.ok) ? "green" : "red",
		message: `<table class="table table-sm">${rows.join("")}</table>`,
	});
}

async function ask_again(frm) {
	const { message: newest } = await frm.call("backfill");
	const text = frappe.utils.escape_html;
	const states = { running: __("is running"), done: __("is done"), failed: __("has failed") };
	const dialog = new frappe.ui.Dialog({
		title: __("Ask {0} for Punches Again", [text(frm.doc.name)]),
		fields: [
			{
				fieldname: "newest",
				fieldtype: "HTML",
				options: newest
					? `<p class="text-muted">${__("The newest, {0} to {1}, {2}.", [
							text(newest.first),
							text(newest.last),
							states[newest.state],
					  ])} ${text(newest.said)}</p>`
					: "",
			},
			{ fieldname: "first", fieldtype: "Date", label: __("First Day"), reqd: 1 },
			{ fieldname: "last", fieldtype: "Date", label: __("Last Day"), reqd: 1 },
		],
		primary_action_label: __("Ask"),
		async primary_action({ first, last }) {
			const { message: way } = await frm.call("ask_again", { first, last });
			dialog.hide();
			frappe.msgprint(
				way === "ordered"
					? __("It sends the punches of these days when it next comes. What Kafka has already is dropped.")
					: __("It is asked now, and what is missing is added. This button shows how far it is.")
			);
		},
	});
	dialog.show();
}
