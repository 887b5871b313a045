frappe.listview_settings["Biometric Device"] = {
	onload(listview) {
		if (frappe.model.can_create("Biometric Device")) {
			listview.page.add_inner_button(__("Devices That Ask"), show_pending);
		}
	},
};

async function show_pending() {
	const { message: devices } = await frappe.call({
		type: "POST",
		method: "biometric_integration.biometric_integration.doctype.biometric_device.biometric_device.pending_devices",
	});
	if (!devices.length) {
		frappe.msgprint(__("No device asks to be let in."));
		return;
	}
	const text = frappe.utils.escape_html;
	const dialog = new frappe.ui.Dialog({
		title: __("Devices That Ask to Be Let In"),
		size: "large",
		fields: [{ fieldname: "devices", fieldtype: "HTML" }],
	});
	const rows = devices.map(
		(each, number) =>
			`<tr><td>${text(each.serial)}</td><td>${text(each.adapter)}</td>
			<td>${text(each.addresses.join(", "))}</td><td>${text(each.last_seen)}</td>
			<td>${
				each.device_id
					? __("{0} has another address", [text(each.device_id)])
					: `<button class="btn btn-xs btn-default" data-number="${number}">${__("Approve")}</button>`
			}</td></tr>`
	);
	dialog.fields_dict.devices.$wrapper
		.html(
			`<p>${__("Whoever knows a serial number can ask. Let in what you know.")}</p>
			<table class="table table-sm"><tr><th>${__("Serial Number")}</th><th>${__("Adapter")}</th>
			<th>${__("Came From")}</th><th>${__("Last Seen")}</th><th></th></tr>${rows.join("")}</table>`
		)
		.on("click", "button[data-number]", (event) => {
			const { serial, adapter, addresses } = devices[event.currentTarget.dataset.number];
			dialog.hide();
			frappe.new_doc("Biometric Device", {
				device_id: serial,
				device_name: serial,
				mode: "PUSH",
				adapter,
				serial,
				more_settings: JSON.stringify({ addresses }, null, 1),
			});
		});
	dialog.show();
}
